// Times of day and days, in the zone that was chosen: ms since 1970 come in, words go out.

export const MINUTE = 60_000;
export const HALF_HOUR = 30 * MINUTE;
export const HOUR = 60 * MINUTE;
export const DAY = 24 * HOUR;

const formatters = new Map();

function formatter(timeZone, options) {
  const name = timeZone + JSON.stringify(options);
  if (!formatters.has(name)) formatters.set(name, new Intl.DateTimeFormat('en-GB', { timeZone, ...options }));
  return formatters.get(name);
}

/** The zone of this browser. */
export const localZone = () => Intl.DateTimeFormat().resolvedOptions().timeZone || 'UTC';

/** 14:30 */
export const clock = (ms, zone) => formatter(zone, { hour: '2-digit', minute: '2-digit' }).format(ms);

/** 14:30:08 */
export const clockSeconds = (ms, zone) =>
  formatter(zone, { hour: '2-digit', minute: '2-digit', second: '2-digit' }).format(ms);

/** Mon 16 */
export const weekday = (ms, zone) => formatter(zone, { weekday: 'short', day: 'numeric' }).format(ms).replace(',', '');

/** 16 Feb */
export const day = (ms, zone) => formatter(zone, { day: 'numeric', month: 'short' }).format(ms);

/** 16 Feb 2026 */
export const date = (ms, zone) => formatter(zone, { day: 'numeric', month: 'short', year: 'numeric' }).format(ms);

/** February 2026 */
export const month = (ms, zone) => formatter(zone, { month: 'long', year: 'numeric' }).format(ms);

/** Mon 16 Feb, 14:30 */
export const moment = (ms, zone) => `${weekday(ms, zone)} ${day(ms, zone).split(' ')[1]}, ${clock(ms, zone)}`;

/** 14:30, with its day where that is not the day of now: 24 Feb 14:30 */
export const recent = (ms, now, zone) =>
  (day(ms, zone) === day(now, zone) ? '' : `${day(ms, zone)} `) + clock(ms, zone);

/** ISO without fractions, as the API reads it. */
export const iso = (ms) => new Date(ms).toISOString().replace('.000', '');

/** How far the zone is ahead of UTC at this time. */
export function offset(ms, zone) {
  if (zone === 'UTC') return 0;
  const options = { hourCycle: 'h23', year: 'numeric', month: 'numeric', day: 'numeric', hour: 'numeric',
    minute: 'numeric', second: 'numeric' };
  const part = Object.fromEntries(formatter(zone, options).formatToParts(ms).map(({ type, value }) => [type, +value]));
  const shown = Date.UTC(part.year, part.month - 1, part.day, part.hour, part.minute, part.second);
  return shown - Math.floor(ms / 1000) * 1000;
}

/**
 * The first instant at which the clocks of this zone show a local time (ms, as if it were of UTC), or what is after it
 * where they skip it. Summer time begins at midnight in some zones, so the offsets of before and after are both tried.
 */
export function instantOf(local, zone) {
  const tried = [local - DAY, local + DAY].map((ms) => local - offset(ms, zone)).sort((one, other) => one - other);
  return tried.find((ms) => ms + offset(ms, zone) >= local) ?? tried[1];
}

/** When the day of this zone began in which a time is, or the one `later` days after. */
export function dayStart(ms, zone, later = 0) {
  return instantOf(Math.floor((ms + offset(ms, zone)) / DAY) * DAY + later * DAY, zone);
}

/** When the month of this zone began in which a time is, or the one `later` months after. */
export function monthStart(ms, zone, later = 0) {
  const local = new Date(ms + offset(ms, zone));
  return instantOf(Date.UTC(local.getUTCFullYear(), local.getUTCMonth() + later, 1), zone);
}
