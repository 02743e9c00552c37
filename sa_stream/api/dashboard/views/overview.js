// Overview: is all well, and what changed.

import { reasonWords, series } from '../lib/answers.js';
import { el } from '../lib/dom.js';
import { FULL, SLIM, isShort } from '../lib/metrics.js';
import { before, listPeriod, words } from '../lib/range.js';
import { session } from '../lib/session.js';
import { iso } from '../lib/times.js';
import { byAudience, byResult, byStatus, bytesSent, serveTime } from '../parts/charts.js';
import { cityList, nameList, pathList } from '../parts/lists.js';
import { tiles } from '../parts/tiles.js';
import { View } from '../parts/view.js';

export class Overview extends View {
  static view = 'overview';
  static appId = 'sa-overview';
  static navLabel = 'Overview';
  static navIcon = '▤';

  build(content) {
    this.tiles = tiles();
    this.gaps = el('ul', { class: 'gaps' });
    const chart = (name) => (this[name] = document.createElement('sa-chart'));
    const table = (name) => (this[name] = document.createElement('sa-table'));
    content.append(this.tiles.element, this.gaps, chart('status'),
      el('div', { class: 'pair' }, chart('audience'), chart('times'), chart('results'), chart('bytes'), table('paths'),
        el('div', { class: 'column' }, table('referrers'), table('cities'), table('bots'))));
  }

  async read({ range, now, get, maybe }) {
    const times = ({ from, to }) => ({ from: iso(from), to: iso(to) });
    const past = before(range, session.days);
    const short = isShort(range);
    const zone = session.days === 'UTC' ? null : session.days;
    const days = short ? { metrics: FULL } : { metrics: FULL, period: 'daily', tz: zone };
    const of = listPeriod(range, now);
    const where = { period: of.period, at: of.at };
    const [main, daily, then, summary, paths, referrers, cities, bots] = await Promise.all([
      get('traffic/timeseries', { ...times(range), metrics: short ? FULL : SLIM }),
      short ? null : get('traffic/timeseries', { ...times(range), ...days }),
      maybe('traffic/timeseries', { ...times(past), ...days }),
      of.whole ? maybe('traffic/summary', where) : null,
      maybe('traffic/top-paths', { ...where, limit: 20 }), maybe('traffic/breakdown/referrers', { ...where, limit: 8 }),
      maybe('traffic/edge-locations', where), maybe('traffic/breakdown/bots', { ...where, limit: 8 }),
    ]);
    return { main, daily, then, summary, paths, referrers, cities, bots, of, past };
  }

  draw({ main, daily, then, summary, paths, referrers, cities, bots, of, past }, { range }) {
    const lines = series(main, range.to);
    const days = daily ? series(daily, range.to) : lines;
    const exactly = summary ? { p95: p95Of(summary), before: summary.previous?.p95 ?? null } : null;
    this.tiles.show({ now: days, then: then && series(then), exactly, before: words(past, session.labels, session.days) });
    this.status.data = byStatus(lines);
    this.audience.data = byAudience(lines);
    this.times.data = serveTime(days);
    this.results.data = byResult(days);
    this.bytes.data = bytesSent(lines);
    this.gaps.replaceChildren(...(main.gaps ?? []).filter((gap) => gap.reason !== 'open').slice(0, 5).map((gap) =>
      el('li', {}, `Missing from ${gap.from.slice(0, 16).replace('T', ' ')} to ${gap.to.slice(0, 16).replace('T', ' ')} UTC: ${reasonWords(gap.reason)}.`)));
    pathList(this.paths, paths, of);
    nameList(this.referrers, referrers, of, 'Referrers', 'cs-referer');
    cityList(this.cities, cities, of, 8);
    nameList(this.bots, bots, of, 'Bots', 'cs-user-agent');
  }
}

const p95Of = (summary) => summary.percentiles?.time_taken?.p95 ?? null;
