// Entries: from period to key, and what one entry says of itself.

import { Api_Error, addressOf, dashboardPath } from '../lib/api.js';
import { missingWords } from '../lib/answers.js';
import { button, el, setText } from '../lib/dom.js';
import { fileName, offer } from '../lib/files.js';
import { bytes, count, exact, percent } from '../lib/numbers.js';
import { View } from '../parts/view.js';

const PAGE = 100;

export class Entries extends View {
  static view = 'entries';
  static appId = 'sa-entries';
  static navLabel = 'Entries';
  static navIcon = '≡';
  static ranged = false;

  build(content) {
    this.crumbs = el('nav', { 'aria-label': 'Where', class: 'crumbs' });
    this.table = document.createElement('sa-table');
    this.more = el('p');
    this.inspector = el('div', { class: 'inspector' });
    content.append(this.crumbs, this.table, this.more, this.inspector);
  }

  async read({ rest, query, get }) {
    const parts = rest.split('/').filter(Boolean);
    if (parts.length < 2) {
      const [browse, stats] = await Promise.all(parts.length
        ? [get(`cache/browse/${encodeURIComponent(parts[0])}`, { limit: PAGE, after: query.get('after') })]
        : [get('cache/browse'), get('cache/stats')]);
      return { browse, stats, parts };
    }
    const path = `cache/entry/${parts.map(encodeURIComponent).join('/')}`;
    try {
      return { entry: await get(path), parts, path };
    } catch (error) {
      if (!(error instanceof Api_Error) || ![400, 404].includes(error.status)) throw error;
      return { absent: error.message, parts };
    }
  }

  draw({ browse, stats, entry, absent, parts, path }) {
    this.#crumbs(parts);
    this.table.hidden = !browse;
    this.more.replaceChildren();
    this.inspector.hidden = Boolean(browse);
    if (absent) return this.inspector.replaceChildren(el('p', { class: 'note absent' }, `There is no entry ${parts.join('/')}: ${absent}`));
    if (browse) return this.#browse(browse, stats, parts);
    this.#inspect(entry, parts.join('/'), path);
  }

  #crumbs(parts) {
    const link = (depth, text) => el('a', { href: dashboardPath + ['entries', ...parts.slice(0, depth)].map(encodeURIComponent).join('/') }, text);
    this.crumbs.replaceChildren(...[link(0, 'All periods'), ...parts.map((part, place) => link(place + 1, part))]
      .flatMap((each, place) => (place ? [' / ', each] : [each])));
  }

  #browse(browse, stats, parts) {
    const of = (period) => stats?.rows.find((row) => row.period === period) ?? {};
    const rows = browse.rows.map((row) => ({ ...of(row.path), ...row, key: row.key ?? row.path }));
    const words = (name, label) => ({ name, label, text: (row) => row[name] ?? '–' });
    const number = (name, label) => ({ name, label, format: exact });
    const more = parts.length
      ? [words('status', 'Status'), number('total_requests', 'Requests'), number('revision', 'Revision'), words('provenance', 'From'), words('computed_at', 'Computed')]
      : [number('entries', 'Entries'), words('oldest', 'Oldest'), words('newest', 'Newest')];
    this.table.show({
      title: parts.length ? `Entries: ${parts[0]}` : 'Periods', order: null, rows,
      note: `Showing ${exact(browse.shown)} of ${exact(browse.total)}.`,
      columns: [{ name: 'key', label: parts.length ? 'Key' : 'Period', cell: (row) => el('a', { href: this.#address(row.key) }, row.key), text: (row) => row.key }, ...more],
    });
    if (browse.more) this.more.append(button('Older keys', () => this.place.go({ rest: parts.join('/'), query: { after: rows.at(-1).key } })));
  }

  #address(key) {
    return dashboardPath + ['entries', ...key.split('/')].map(encodeURIComponent).join('/');
  }

  #inspect(entry, key, path) {
    const json = JSON.stringify(entry, null, 2);
    if (this.shown === json) return; // an opened part stays open
    this.shown = json;
    const rows = [
      ['Status', entry.status === 'final' ? 'final' : `${entry.status ?? '–'}: ${missingWords(entry.missing_sources).join('; ') || 'more may come'}`],
      ['Revision', `${exact(entry.revision ?? 0)}${entry.revision > 0 ? ' (changed by late records after it was final)' : ''}`],
      ['From, to', `${entry.window_start ?? '–'} – ${entry.window_end ?? '–'}`], ['Computed', entry.computed_at ?? '–'], ['Provenance', entry.provenance ?? '–'],
      ['Requests', exact(entry.total_requests)], ['Bytes', bytes(entry.total_bytes)], ['Hit rate', percent(entry.cache_hit_rate, 2)],
      ['Late, duplicate, invalid records', [entry.late_records, entry.duplicate_records, entry.invalid_records].map(count).join(', ')],
      ['Not in the field list', (entry.missing_fields ?? []).join(', ') || 'nothing'], ['Sampling rate', percent(entry.sampling_rate)],
    ];
    this.inspector.replaceChildren(
      el('h2', {}, key), el('dl', { class: 'facts' }, ...rows.flatMap(([name, value]) => [el('dt', {}, name), el('dd', {}, value)])),
      part('Sources', lines(entry.sources)), part('Bounds of estimates', lines(Object.entries(entry.errors ?? {}).map(([name, value]) => ({ name, bound: value })))),
      el('details', {}, el('summary', {}, 'JSON'), el('pre', { tabindex: 0, role: 'region', 'aria-label': 'JSON of the entry' }, json)), this.#buttons(json, key, path));
  }

  #buttons(json, key, path) {
    const done = el('span', { role: 'status' });
    const copy = (words, what) => button(words, async () => {
      try {
        await navigator.clipboard.writeText(what);
        setText(done, ' Copied.');
      } catch {
        setText(done, ' The browser does not let this page copy.'); // without https it may not
      }
    });
    // The key of the API stays out of what is copied: it would end up in a chat or a ticket.
    const curl = `curl -H "x-api-key: $SGRAPH_SEND__SA_API_KEY" '${addressOf(path).href.replaceAll("'", '%27')}'`;
    return el('p', { class: 'controls' }, copy('Copy as curl', curl), copy('Copy JSON', json),
      button('Download JSON', () => offer(fileName(key, 'json'), 'application/json', json)), done);
  }
}

const part = (title, content) => el('details', {}, el('summary', {}, title), content);

/** Small records, each in a line. */
function lines(records) {
  const items = (records ?? []).map((record) => el('li', {}, Object.entries(record).map(([name, value]) => `${name} ${typeof value === 'object' ? JSON.stringify(value) : value}`).join(', ')));
  return items.length ? el('ul', { class: 'lines' }, ...items) : el('p', { class: 'note' }, 'None.');
}
