// <sa-table>: rows that can be sorted, filtered, paged, and taken away as CSV or JSON.

import { button, el, setText } from '../lib/dom.js';
import { csv, fileName, offer } from '../lib/files.js';
import { exact } from '../lib/numbers.js';

const PAGE = 100;
const FILTER_FROM = 12; // of fewer rows, one sees what is there
let tables = 0;

/**
 * `show` gets {title, columns, rows, order, note, heading, filter}. A column is {name, label, format, text, bar, cell}: with
 * `format` it is a number, with `text` its words are made from the row, with `cell` an element is; `bar` draws its share
 * of the largest. order: {name, down}, or null for the order of the rows; what a reader chose counts until another is
 * given. rows null: nothing is known, `note` says why.
 */
export class Table extends HTMLElement {
  #shown = null;
  #order = null;
  #filter = '';
  #page = 0;

  show(table) {
    if (this.#shown === null || this.#shown.order?.name !== table.order?.name) this.#order = table.order ?? null;
    this.#shown = table;
    if (!this.body) this.#build();
    setText(this.heading, table.title);
    this.heading.hidden = !table.heading;
    this.element.setAttribute('aria-label', table.title);
    this.#draw();
  }

  #build() {
    const name = `sa-filter-${(tables += 1)}`;
    this.heading = el('h2');
    this.note = el('p', { class: 'summary' });
    this.filter = el('input', { id: name, type: 'search', oninput: () => {
      this.#filter = this.filter.value.toLowerCase();
      this.#page = 0;
      this.#draw();
    } });
    this.search = el('label', { class: 'filter', for: name }, 'Filter ', this.filter);
    this.head = el('tr');
    this.body = el('tbody');
    this.element = el('table', {}, el('thead', {}, this.head), this.body);
    this.pages = el('p', { class: 'pages' });
    this.files = el('p', { class: 'files' },
      button('CSV', () => this.#offer('csv'), { class: 'quiet', 'aria-label': 'Download as CSV' }),
      button('JSON', () => this.#offer('json'), { class: 'quiet', 'aria-label': 'Download as JSON' }));
    this.box = el('div', { class: 'scroll', tabindex: 0, role: 'region' }, this.element);
    this.append(el('div', { class: 'tablehead' }, this.heading, this.search, this.files), this.note, this.box, this.pages);
  }

  #draw() {
    const { columns, rows, note, title } = this.#shown;
    this.box.setAttribute('aria-label', `${title}, table`);
    setText(this.note, note ?? '');
    this.note.hidden = !note;
    this.box.hidden = this.files.hidden = !rows?.length;
    this.search.hidden = (rows?.length ?? 0) < FILTER_FROM;
    this.head.replaceChildren(...columns.map((column) => this.#headOf(column)));
    const found = this.#rows();
    this.#page = Math.min(this.#page, Math.max(Math.ceil(found.length / PAGE) - 1, 0));
    const page = found.slice(this.#page * PAGE, (this.#page + 1) * PAGE);
    const largest = Object.fromEntries(columns.filter((column) => column.bar)
      .map((column) => [column.name, Math.max(...(rows ?? []).map((row) => row[column.name] ?? 0), 1)]));
    this.body.replaceChildren(...page.map((row) => el('tr', {}, ...columns.map((column) => cellOf(column, row, largest)))));
    this.#drawPages(found.length);
  }

  #headOf(column) {
    const sorted = this.#order?.name === column.name ? (this.#order.down ? 'descending' : 'ascending') : null;
    const sign = { descending: ' ▾', ascending: ' ▴' }[sorted] ?? '';
    return el('th', { scope: 'col', 'aria-sort': sorted, class: column.format && 'number' },
      button(column.label + sign, () => this.#sort(column)));
  }

  #sort(column) {
    const down = this.#order?.name === column.name ? !this.#order.down : Boolean(column.format);
    this.#order = { name: column.name, down };
    this.#draw();
    this.head.querySelector('[aria-sort] button')?.focus();
  }

  #rows() {
    const { rows, columns } = this.#shown;
    const words = (row) => columns.map((column) => (column.text ? column.text(row) : row[column.name])).join(' ').toLowerCase();
    const found = (rows ?? []).filter((row) => !this.#filter || words(row).includes(this.#filter));
    if (!this.#order) return found;
    const { name, down } = this.#order;
    const value = (row) => row[name] ?? (typeof row[name] === 'string' ? '' : -Infinity);
    const compare = (a, b) => (value(a) < value(b) ? -1 : value(a) > value(b) ? 1 : 0);
    return found.toSorted((a, b) => (down ? compare(b, a) : compare(a, b)));
  }

  #drawPages(found) {
    const last = Math.max(Math.ceil(found / PAGE) - 1, 0);
    this.pages.hidden = last === 0;
    const turn = (step) => () => {
      this.#page += step;
      this.#draw();
    };
    this.pages.replaceChildren(
      button('Previous', turn(-1), { disabled: this.#page === 0 }), ` page ${this.#page + 1} of ${last + 1} `,
      button('Next', turn(1), { disabled: this.#page === last }));
  }

  #offer(kind) {
    const { title, columns, rows } = this.#shown;
    if (kind === 'csv') offer(fileName(title, 'csv'), 'text/csv', csv(columns.filter((column) => !column.silent), rows));
    else offer(fileName(title, 'json'), 'application/json', JSON.stringify(rows, null, 2));
  }
}

function cellOf(column, row, largest) {
  const value = row[column.name];
  if (column.cell) return el('td', {}, column.cell(row));
  if (!column.format) return el('td', { class: column.wrap && 'wrap' }, column.text ? column.text(row) : (value ?? '–'));
  const cell = el('td', { class: 'number', title: typeof value === 'number' ? exact(value) : null }, column.format(value));
  if (column.bar) {
    cell.classList.add('barred');
    cell.style.setProperty('--share', `${(100 * (value ?? 0)) / largest[column.name]}%`);
  }
  return cell;
}
