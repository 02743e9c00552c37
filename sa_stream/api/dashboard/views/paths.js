// Paths: the table, by what one sorts it, with a prefix.

import { el } from '../lib/dom.js';
import { listPeriod } from '../lib/range.js';
import { pathList } from '../parts/lists.js';
import { View } from '../parts/view.js';

const SORTS = { count: 'Requests', bytes: 'Bytes', status_4xx: '4xx', status_5xx: '5xx', misses: 'Misses' };
const MORE = ['bytes', 'hits', 'misses', 'status_4xx', 'status_5xx', 'avg_time_taken'];
const WAIT_MS = 300; // after a letter, until the API is asked

export class Paths extends View {
  static view = 'paths';
  static appId = 'sa-paths';
  static navLabel = 'Paths';
  static navIcon = '/';

  build(content) {
    let timer;
    const ask = () => this.choosePaths();
    this.begins = el('input', { type: 'search', name: 'prefix', placeholder: '/blog/', maxlength: 2048, oninput: () => {
      clearTimeout(timer);
      timer = setTimeout(ask, WAIT_MS);
    } });
    this.sort = el('select', { name: 'sort', onchange: ask }, ...Object.entries(SORTS).map(([name, label]) => el('option', { value: name }, label)));
    this.raw = el('input', { type: 'checkbox', name: 'raw', onchange: ask });
    this.table = document.createElement('sa-table');
    content.append(el('div', { class: 'controls' }, el('label', {}, 'Begins with ', this.begins), el('label', {}, 'Most ', this.sort),
      el('label', { class: 'tick' }, this.raw, ' as sent, not decoded')), this.table);
  }

  choosePaths() {
    const own = { prefix: this.begins.value, sort: this.sort.value, raw: this.raw.checked ? '1' : null };
    this.place.go({ query: { ...Object.fromEntries(this.place.query), ...own } });
  }

  async read({ range, now, query, maybe }) {
    const of = listPeriod(range, now);
    const sort = query.get('sort') in SORTS ? query.get('sort') : 'count';
    const prefix = query.get('prefix') ?? '';
    if (document.activeElement !== this.begins) this.begins.value = prefix;
    this.sort.value = sort;
    this.raw.checked = query.has('raw');
    const paths = await maybe('traffic/top-paths', { period: of.period, at: of.at, limit: 100, prefix, sort });
    return { paths, of, sort, raw: query.has('raw') };
  }

  draw({ paths, of, sort, raw }) {
    pathList(this.table, paths, of, { title: 'Paths', by: sort, more: MORE, raw });
  }
}
