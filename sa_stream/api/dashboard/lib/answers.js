// What the API's answers are for the parts of a view: rows become columns, sums become comparable. Pure.

import { share } from './numbers.js';
import { WORDS, endOf } from './periods.js';

const POINTS_MAX = 750;
const SETTLED = new Set(['final', 'zero']);

const STATES = { final: 'final', partial: 'partial', zero: 'without requests', missing: 'missing', open: 'to come' };

/** What each reason of a slot that is not settled means, as a sentence's end. */
const REASONS = {
  open: 'has not ended yet, or only just',
  lagging: 'a shard is behind',
  'not-started': 'a shard has not been begun',
  'waiting-for-children': 'a shard was split or merged, and its successors are not known yet',
  'old-list': "Kinesis's list of shards is older than what was read",
  'before-start': 'before the first record that could be read',
  'not-covered': 'records may be lost: a standstill was longer than the stream keeps them',
  'set-aside': 'records that broke the program were set aside',
  partial: 'more may come',
  'not-published': 'about to be written',
  'no-entry': 'nothing is kept of this time',
  'older-version': 'stored by a version that kept no such slots',
};

/** A reason in words, or the reason itself where it is a sentence already. */
export const reasonWords = (reason) => REASONS[reason] ?? (reason || 'no reason is known');

/** What was expected and is not there, from `missing_sources` of an entry, each in a sentence. */
export const missingWords = (missing) =>
  (missing ?? []).map((each) => {
    const who = each.partition ?? each.source ?? each.time_key ?? each.cache_key ?? '';
    return `${who ? `${who}: ` : ''}${reasonWords(each.reason)}`;
  });

/**
 * `traffic/timeseries` as columns: {period, starts, ends, states, reasons, values: {name: [number or null]}, missing,
 * leftOut}. Times are ms; `missing` are the log fields that no list has, `leftOut` what no slot of this length has.
 * until: slots up to then are there, whether they have begun or not, so that a day is as wide in the morning as in the
 * evening.
 */
export function series(answer, until = 0) {
  const { starts, columns } = withTheRest(answer, until);
  const values = Object.fromEntries(answer.columns.slice(1).map((name, place) => [name, columns[place]]));
  const ends = starts.map((start, place) => starts[place + 1] ?? endOf(answer.period, start));
  const reasons = starts.map((start, place) => answer.reasons?.[place] ?? gapAt(answer.gaps, start)?.reason ?? '');
  // What has not begun is not missing.
  const states = starts.map((_, place) => answer.slots[place] ?? 'open')
    .map((state, place) => (state === 'missing' && reasons[place] === 'open' ? 'open' : state));
  return {
    period: answer.period, starts, ends, states, reasons, values,
    missing: answer.missing_fields ?? [], leftOut: answer.left_out ?? [], late: values.late_records ?? [],
  };
}

/** Why slots of this length leave something out. */
export const leftOutWords = (period) => `${period === 'minute' ? 'minutes' : 'local days'} do not tell this`;

/** Times and columns of the slots that the answer has, and of those after it. */
function withTheRest(answer, until) {
  const starts = answer.rows.map((row) => Date.parse(row[0]));
  const columns = answer.columns.slice(1).map((_, place) => answer.rows.map((row) => row[place + 1]));
  let next = starts.length ? endOf(answer.period, starts.at(-1)) : until;
  while (next < until && starts.length < POINTS_MAX) {
    starts.push(next);
    columns.forEach((column) => column.push(null));
    next = endOf(answer.period, next);
  }
  return { starts, columns };
}

const gapAt = (gaps, start) => (gaps ?? []).find((gap) => Date.parse(gap.from) <= start && start < Date.parse(gap.to));

/** A column worked out of others, null where one of them is. */
export const derived = (values, names, work) =>
  (values[names[0]] ?? []).map((_, place) => {
    const parts = names.map((name) => values[name]?.[place] ?? null);
    return parts.includes(null) ? null : work(...parts);
  });

/** The sum of a column over the slots for which `counts` holds; null where nothing is known. */
export function sum(column, counts = () => true) {
  const known = (column ?? []).filter((value, place) => value !== null && counts(place));
  return known.length ? known.reduce((total, value) => total + value, 0) : null;
}

/** A part of a whole in percent, over the slots that know both: the part of some is none of the whole of all. */
export function rateOf(values, part, whole) {
  const known = (place) => [part, whole].every((name) => (values[name]?.[place] ?? null) !== null);
  return share(sum(values[part], known), sum(values[whole], known));
}

/**
 * Two series over the same complete slots: those that are settled in both, by their place. A sum that one of them does
 * not know is null, as a field that came or went would look like a change of the traffic.
 * Returns {slots, words, of(name) -> [now, then], rate(part, whole) -> [percent, percent]}.
 */
export function compared(now, then) {
  const places = now.starts.map((_, place) => place)
    .filter((place) => SETTLED.has(now.states[place]) && SETTLED.has(then.states[place]));
  const total = ({ values }, name) => {
    const known = places.map((place) => values[name]?.[place] ?? null);
    return known.includes(null) ? null : sum(known);
  };
  const of = (name) => [total(now, name), total(then, name)];
  const rate = (part, whole) => [now, then].map((each) => share(total(each, part), total(each, whole)));
  const noun = `${WORDS[now.period] ?? 'slot'}${places.length === 1 ? '' : 's'}`;
  const first = places.length > 0 && places.at(-1) === places.length - 1 ? 'the first ' : '';
  return { slots: places.length, words: `${first}${places.length} complete ${noun}`, of, rate };
}

/** A chart's summary: how many slots are in which state. */
export function stateWords(states) {
  const numbers = {};
  for (const state of states) numbers[state] = (numbers[state] ?? 0) + 1;
  return Object.entries(STATES).filter(([state]) => numbers[state]).map(([state, words]) => `${numbers[state]} ${words}`).join(', ');
}

/** Rows of a table that may be a map of counts or a list, as {name, count, …}; null stays null. */
export function rowsOf(answer, label = 'name') {
  if (!answer || answer.rows === null) return null;
  return answer.rows.map((row) => ({ ...row, name: row[label] ?? row.name ?? '' }));
}
