// How numbers look. What is not there is a dash, never NaN, null or undefined.

export const NONE = '–';
const LARGE = [[1e12, 'T'], [1e9, 'G'], [1e6, 'M']];
const BYTES = [[1e12, 'TB'], [1e9, 'GB'], [1e6, 'MB'], [1e3, 'kB']];

const known = (value) => typeof value === 'number' && Number.isFinite(value);

/** 184,203, and from a million on 1.23 M. */
export function count(value) {
  if (!known(value)) return NONE;
  const [unit, name] = LARGE.find(([each]) => Math.abs(value) >= each) ?? [1, ''];
  return name ? `${(value / unit).toFixed(2)} ${name}` : exact(value);
}

/** With separators, whatever its length. */
export const exact = (value) => (known(value) ? value.toLocaleString('en-GB', { maximumFractionDigits: 6 }) : NONE);

/** In decimal units: 5.2 GB. */
export function bytes(value) {
  if (!known(value)) return NONE;
  const [unit, name] = BYTES.find(([each]) => value >= each) ?? [1, 'B'];
  return `${unit === 1 ? value : (value / unit).toFixed(1)} ${name}`;
}

/** Percent, of a number that is one. */
export const percent = (value, decimals = 1) => (known(value) ? `${value.toFixed(decimals)} %` : NONE);

/** Part of whole in percent; null where there is no whole. */
export const share = (part, whole) => (known(part) && whole ? (100 * part) / whole : null);

/** 270 ms, 1.2 s, from seconds. */
export function duration(value_s) {
  if (!known(value_s)) return NONE;
  return value_s < 1 ? `${Math.round(value_s * 1000)} ms` : `${value_s.toFixed(1)} s`;
}

/** 38 s, 4 min, 3 h, 2 days: how long ago, or how far behind. */
export function span(value_s) {
  if (!known(value_s)) return NONE;
  if (value_s < 10 && value_s % 1) return `${value_s.toFixed(1)} s`;
  if (value_s < 120) return `${Math.round(value_s)} s`;
  if (value_s < 7200) return `${Math.round(value_s / 60)} min`;
  return value_s < 172800 ? `${Math.round(value_s / 3600)} h` : `${Math.round(value_s / 86400)} days`;
}

/** A word for one, another for more: '1 request', '2 requests'. */
export const plural = (number, one, more = `${one}s`) => `${exact(number)} ${number === 1 ? one : more}`;

export const FORMATS = { count, bytes, percent: (value) => percent(value, 2), duration };
