// Tables that several views have: paths, names with their counts, cities. Each says of which entry it is, and how much
// of it is shown.

import { rowsOf } from '../lib/answers.js';
import { el } from '../lib/dom.js';
import { bytes, count, duration, exact, percent } from '../lib/numbers.js';
import { notInList } from './words.js';

const twoDecimals = (value) => percent(value, 2);
export const SHARE = { name: 'share', label: 'Share', format: twoDecimals };
export const REQUESTS = { name: 'count', label: 'Requests', format: count, bar: true };

/** 'Showing 20 of 4,717. Of 2026-02-16, the last day of the range.' */
export function noteOf(answer, of, fields) {
  if (answer === null) return `There is no entry ${of.period}/${of.at}: no requests, or not there yet.`;
  if (answer.rows === null) return absentNote(answer, fields);
  const bound = answer.error_bound ? ` A count may lack up to ${exact(answer.error_bound)}.` : '';
  const total = answer.total === null || answer.total === undefined ? '' : ` of ${exact(answer.total)}`;
  const whole = of.whole ? '' : ` Of ${of.period} ${of.at}: lists of several entries cannot be added.`;
  return `Showing ${exact(answer.shown)}${total}.${bound}${answer.status === 'partial' ? ' Partial: more may come.' : ''}${whole}`;
}

function absentNote(answer, fields) {
  const missing = fields.filter((field) => (answer.missing_fields ?? []).includes(field));
  return missing.length ? notInList(missing) : 'Not known: an older version stored this entry.';
}

/** Shows a table of an answer's rows; `columns` as of sa-table. */
export function list(table, { title, answer, of, fields, columns, rows, order = { name: 'count', down: true } }) {
  table.show({ title, heading: true, columns, order, rows: answer === null ? [] : rows, note: noteOf(answer, of, fields) });
}

/** Names and counts: referrers, bots, browsers. */
export function nameList(table, answer, of, title, field, label = 'Name') {
  const marked = (row) => `${row.name}${row.ai ? ' (AI)' : ''}`;
  const columns = [{ name: 'name', label, text: marked, wrap: true }, REQUESTS, SHARE];
  list(table, { title, answer, of, fields: [field], columns, rows: rowsOf(answer) });
}

/** most: how many are shown. */
export function cityList(table, answer, of, most = 100) {
  const cities = answer && (answer.cities ?? answer.rows);
  const rows = cities && cities.slice(0, most).map((row) => ({ ...row, name: [row.city ?? row.edge ?? row.name, row.country].filter(Boolean).join(', ') }));
  const told = answer && { ...answer, rows, shown: rows?.length ?? 0, total: cities?.length ?? 0 };
  const columns = [{ name: 'name', label: 'City', wrap: true }, REQUESTS, SHARE];
  list(table, { title: 'Cities of the edge locations', answer: told, of, fields: ['x-edge-location'], columns, rows });
}

/** A path as people read it; what cannot be decoded stays as it came. */
export function decodedPath(path) {
  try {
    // Characters that change the direction of text, or cannot be seen, stay encoded.
    return decodeURIComponent(path).replaceAll(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, encodeURIComponent);
  } catch {
    return path;
  }
}

const pathCell = { name: 'path', label: 'Path', wrap: true,
  cell: (row) => el('span', { class: 'path', title: row.path }, row.path === '' ? '(none)' : decodedPath(row.path)),
  text: (row) => `${row.path} ${decodedPath(row.path)}` };
const RAW = { name: 'path', label: 'Path as sent', wrap: true };

/** raw: paths as they came. more: further columns by name. */
export function pathList(table, answer, of, { title = 'Top paths', by = 'count', more = [], raw = false } = {}) {
  const further = {
    bytes: { name: 'bytes', label: 'Bytes', format: bytes }, hits: { name: 'hits', label: 'Hits', format: count },
    misses: { name: 'misses', label: 'Misses', format: count }, status_4xx: { name: 'status_4xx', label: '4xx', format: count },
    status_5xx: { name: 'status_5xx', label: '5xx', format: count },
    avg_time_taken: { name: 'avg_time_taken', label: 'Average time', format: duration },
  };
  const counts = ['count', ...more].map((name) => ({ ...(name === 'count' ? REQUESTS : further[name]), bar: name === by }));
  list(table, { title, answer, of, fields: ['cs-uri-stem'], columns: [raw ? RAW : pathCell, ...counts],
    rows: answer?.rows ?? null, order: { name: by, down: true } });
}
