// What is looked at: from a time on, up to another. Pure; the query string of a view holds it.

import { endOf, timeKey } from './periods.js';
import { DAY, HALF_HOUR, HOUR, clock, date, dayStart, iso, month, monthStart } from './times.js';

export const PRESETS = { today: 'Today', yesterday: 'Yesterday', '7d': '7 days', '30d': '30 days', month: 'Month' };

/** The range that a query names, as times; today if it names none. zone: whose days they are. */
export function rangeOf(query, nowMs, zone) {
  const from = Date.parse(query.get('from') ?? '');
  const to = Date.parse(query.get('to') ?? '');
  if (from < to) return { name: null, from, to };
  const asked = query.get('range');
  const name = asked !== null && asked in PRESETS ? asked : 'today';
  return { name, ...bounds(name, nowMs, zone) };
}

function bounds(name, nowMs, zone) {
  const next = dayStart(nowMs, zone, 1);
  if (name === 'yesterday') return { from: dayStart(nowMs, zone, -1), to: dayStart(nowMs, zone) };
  if (name === '7d') return { from: dayStart(nowMs, zone, -6), to: next };
  if (name === '30d') return { from: dayStart(nowMs, zone, -29), to: next };
  if (name === 'month') return { from: monthStart(nowMs, zone), to: monthStart(nowMs, zone, 1) };
  return { from: dayStart(nowMs, zone), to: next };
}

/** The range in front of it, of the same length: the month before a month, else as many days, hours or minutes. */
export function before(range, zone) {
  if (isMonth(range, zone)) return { from: monthStart(range.from, zone, -1), to: range.from };
  const days = Math.round((range.to - range.from) / DAY);
  if (days >= 1 && dayStart(range.from, zone) === range.from) {
    return { from: dayStart(range.from, zone, -days), to: range.from };
  }
  return { from: 2 * range.from - range.to, to: range.from };
}

export const isMonth = (range, zone) =>
  monthStart(range.from, zone) === range.from && monthStart(range.from, zone, 1) === range.to;

export const isDay = (range, zone) => dayStart(range.from, zone, 1) === range.to && dayStart(range.from, zone) === range.from;

/** Query of a range: its name where it has one. */
export const queryOf = (range) => (range.name ? { range: range.name } : { from: iso(range.from), to: iso(range.to) });

/** In words: '16 Feb 2026', '16 Feb 2026 08:00 – 12:30', '10 Feb 2026 – 16 Feb 2026'. */
export function words(range, zone, dayZone) {
  if (isMonth(range, dayZone)) return month(range.from, dayZone);
  const first = date(range.from, zone);
  const last = date(range.to - 1, zone);
  const whole = dayStart(range.from, zone) === range.from && dayStart(range.to, zone) === range.to;
  if (whole) return first === last ? first : `${first} – ${last}`;
  const end = date(range.to, zone) === first ? clock(range.to, zone) : `${date(range.to, zone)} ${clock(range.to, zone)}`;
  return `${first} ${clock(range.from, zone)} – ${end}`;
}

/**
 * The one entry that lists (paths, agents, cities) are taken from: such lists cannot be added up over entries.
 * whole: the entry is the range; else it is the last one in it.
 */
export function listPeriod(range, nowMs) {
  const end = Math.min(range.to, nowMs);
  if (isMonth(range, 'UTC')) return { period: 'monthly', at: timeKey('monthly', range.from), whole: true };
  const length = range.to - range.from;
  if (length >= DAY) {
    const at = Math.max(range.from, end - 1);
    return { period: 'daily', at: timeKey('daily', at), whole: length === DAY && range.from % DAY === 0 };
  }
  const period = length < HOUR ? '30min' : 'hourly';
  const width = period === 'hourly' ? HOUR : HALF_HOUR;
  const start = Math.floor((Math.max(range.from + 1, end) - 1) / width) * width;
  return { period, at: timeKey(period, start), whole: range.from === start && range.to === endOf(period, start) };
}
