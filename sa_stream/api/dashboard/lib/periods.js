// Periods and their keys, as in the cache: `30min/2026-02-16-1430`.

import { DAY, HALF_HOUR, HOUR, MINUTE } from './times.js';

export const WIDTHS = { minute: MINUTE, '30min': HALF_HOUR, hourly: HOUR, daily: DAY };
export const WORDS = { minute: 'minute', '30min': 'half hour', hourly: 'hour', daily: 'day', monthly: 'month' };
const LENGTHS = { '30min': 16, hourly: 13, daily: 10, monthly: 7 };

/** When the period that begins at a time ends. */
export function endOf(period, startMs) {
  if (period !== 'monthly') return startMs + WIDTHS[period];
  const start = new Date(startMs);
  return Date.UTC(start.getUTCFullYear(), start.getUTCMonth() + 1, 1);
}

/** Key of the entry that a time is in. The entry of a minute is its half hour's. */
export function keyOf(period, ms) {
  const kept = period === 'minute' ? '30min' : period;
  const start = kept === '30min' ? Math.floor(ms / HALF_HOUR) * HALF_HOUR : ms;
  return `${kept}/${new Date(start).toISOString().slice(0, LENGTHS[kept]).replace('T', '-').replace(':', '')}`;
}

/** Key of the entry that a slot is shown by. A local day begins in another day of UTC: most of it lies in one. */
export const keyOfSlot = (period, startMs, endMs) => keyOf(period, (startMs + endMs) / 2);

/** Key of the entry that a time is in without its period, which is what `at` takes. */
export const timeKey = (period, ms) => keyOf(period, ms).split('/')[1];
