// Errors: how many, which codes, which paths; viewers who left apart; what the cache missed.

import { rowsOf, series } from '../lib/answers.js';
import { FULL, SLIM, isShort } from '../lib/metrics.js';
import { listPeriod } from '../lib/range.js';
import { iso } from '../lib/times.js';
import { chartOf } from '../parts/charts.js';
import { REQUESTS, SHARE, list, pathList } from '../parts/lists.js';
import { View } from '../parts/view.js';

const ERRORS = [
  { name: 'status_4xx', label: '4xx', role: 'warn' },
  { name: 'status_5xx', label: '5xx', role: 'bad', pattern: 'sa-stripes' },
];
const LEFT = [{ name: 'status_0xx', label: '0xx', role: 'none' }];
const SORTS = { status_4xx: 'Paths with 4xx', status_5xx: 'Paths with 5xx', misses: 'Paths that the cache missed' };

export class Errors extends View {
  static view = 'errors';
  static appId = 'sa-errors';
  static navLabel = 'Errors';
  static navIcon = '▲';

  build(content) {
    const add = (tag, name) => (this[name] = document.createElement(tag));
    const pair = document.createElement('div');
    pair.className = 'pair';
    pair.append(add('sa-chart', 'left'), add('sa-table', 'codes'), ...Object.keys(SORTS).map((sort) => add('sa-table', sort)));
    content.append(add('sa-chart', 'errors'), pair);
  }

  async read({ range, now, get, maybe }) {
    const of = listPeriod(range, now);
    const where = { period: of.period, at: of.at };
    const metrics = isShort(range) ? FULL : SLIM;
    const [main, codes, ...paths] = await Promise.all([
      get('traffic/timeseries', { from: iso(range.from), to: iso(range.to), metrics }), maybe('traffic/status-codes', where),
      ...Object.keys(SORTS).map((sort) => maybe('traffic/top-paths', { ...where, sort, limit: 20 })),
    ]);
    return { main, codes, paths, of };
  }

  draw({ main, codes, paths, of }, { range }) {
    const lines = series(main, range.to);
    this.errors.data = chartOf(lines, '4xx and 5xx', 'stack', ERRORS, 'status_4xx');
    this.left.data = chartOf(lines, 'Left before the answer (0xx)', 'stack', LEFT, 'status_4xx');
    const rows = codes && codes.codes;
    const answer = codes && { ...codes, rows: rows ?? null, shown: rows?.length ?? 0, total: rows?.length ?? 0 };
    list(this.codes, { title: 'Status codes', answer, of, fields: ['sc-status'], rows: rowsOf(answer, 'code'),
      columns: [{ name: 'name', label: 'Code' }, REQUESTS, SHARE] });
    Object.entries(SORTS).forEach(([sort, title], place) => pathList(this[sort], paths[place], of, { title, by: sort, more: [sort] }));
  }
}
