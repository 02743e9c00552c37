// Visitors: people and bots, by what they use and where they come from.

import { series } from '../lib/answers.js';
import { el } from '../lib/dom.js';
import { FULL, SLIM, isShort } from '../lib/metrics.js';
import { listPeriod } from '../lib/range.js';
import { iso } from '../lib/times.js';
import { byAudience } from '../parts/charts.js';
import { cityList, nameList } from '../parts/lists.js';
import { View } from '../parts/view.js';

const LISTS = {
  bots: ['Bots by name', 'cs-user-agent'],
  browsers: ['Browsers of people', 'cs-user-agent'],
  systems: ['Systems of people', 'cs-user-agent'],
  devices: ['Devices of people', 'cs-user-agent'],
  referrers: ['Referrers', 'cs-referer'],
  countries: ['Countries', 'c-country'],
};

export class Visitors extends View {
  static view = 'visitors';
  static appId = 'sa-visitors';
  static navLabel = 'Visitors';
  static navIcon = '◔';

  build(content) {
    const table = (name) => (this[name] = document.createElement('sa-table'));
    this.audience = document.createElement('sa-chart');
    content.append(this.audience, el('div', { class: 'pair' }, ...Object.keys(LISTS).map(table), table('cities')));
  }

  async read({ range, now, get, maybe }) {
    const of = listPeriod(range, now);
    const where = { period: of.period, at: of.at };
    const metrics = isShort(range) ? FULL : SLIM;
    const [main, cities, ...lists] = await Promise.all([
      get('traffic/timeseries', { from: iso(range.from), to: iso(range.to), metrics }), maybe('traffic/edge-locations', where),
      ...Object.keys(LISTS).map((name) => maybe(`traffic/breakdown/${name}`, where)),
    ]);
    return { main, cities, lists, of };
  }

  draw({ main, cities, lists, of }, { range }) {
    this.audience.data = byAudience(series(main, range.to));
    cityList(this.cities, cities, of);
    Object.entries(LISTS).forEach(([name, [title, field]], place) => nameList(this[name], lists[place], of, title, field));
    this.countries.hidden = lists.at(-1)?.rows === null || lists.at(-1) === null; // only if ALLOW_FIELDS chose them
  }
}
