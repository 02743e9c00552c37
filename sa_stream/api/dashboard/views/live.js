// Live: the last minutes, minute by minute.

import { series } from '../lib/answers.js';
import { button, el, setText } from '../lib/dom.js';
import { count, span } from '../lib/numbers.js';
import { session } from '../lib/session.js';
import { clock, clockSeconds } from '../lib/times.js';
import { byStatus, bytesSent, chartOf } from '../parts/charts.js';
import { View } from '../parts/view.js';

const MINUTES = [15, 30, 60, 120];
const PARTS = [
  { name: 'status_4xx', label: '4xx', role: 'warn' },
  { name: 'status_5xx', label: '5xx', role: 'bad' },
];

export class Live extends View {
  static view = 'live';
  static appId = 'sa-live';
  static navLabel = 'Live';
  static navIcon = '●';
  static ranged = false;

  build(content) {
    this.choices = MINUTES.map((minutes) => button(`${minutes} min`, () => this.place.go({ query: { minutes: String(minutes) } }), { data: { minutes } }));
    this.asOf = el('p', { class: 'verdict' });
    const chart = (name) => (this[name] = document.createElement('sa-chart'));
    content.append(el('div', { class: 'presets', role: 'group', 'aria-label': 'How long' }, ...this.choices), this.asOf,
      chart('requests'), el('div', { class: 'pair' }, chart('errors'), chart('bytes')));
  }

  async read({ query, get }) {
    const asked = Number(query.get('minutes'));
    const minutes = MINUTES.includes(asked) ? asked : 60;
    return { live: await get('traffic/live', { minutes }), minutes };
  }

  draw({ live, minutes }) {
    for (const each of this.choices) each.setAttribute('aria-pressed', String(Number(each.dataset.minutes) === minutes));
    const lines = series({ period: 'minute', ...live });
    const asOf = live.as_of ? `As of ${clockSeconds(Date.parse(live.as_of), session.labels)}, ${span(live.delay_s)} behind` : 'Nothing has come yet';
    const last = lines.values.requests?.findLastIndex((value) => value !== null) ?? -1;
    const lag = typeof live.lag_s === 'number' ? `; lag ${span(live.lag_s)}` : '';
    setText(this.asOf, `${asOf}${lag}${last < 0 ? '' : `; ${count(lines.values.requests[last])} requests so far in the minute of ${clock(lines.starts[last], session.labels)}`}.`);
    this.requests.data = byStatus(lines);
    this.errors.data = chartOf(lines, 'Errors', 'lines', PARTS, 'status_4xx');
    this.bytes.data = bytesSent(lines);
  }
}
