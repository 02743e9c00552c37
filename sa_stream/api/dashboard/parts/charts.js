// Charts that several views have, from a series: which columns, in which colours, under which title.

import { derived } from '../lib/answers.js';
import { AUDIENCE, CLASSES, TIMES } from '../lib/colours.js';
import { bytes, count, duration, exact } from '../lib/numbers.js';

const FIELD = {
  human: 'cs-user-agent', bots: 'cs-user-agent', p95: 'time-taken', hits: 'x-edge-result-type',
  status_4xx: 'sc-status', requests: null, bytes: 'sc-bytes',
};

/** Data of a chart from the parts that the series knows. key: the column whose absence means that there is none. */
export function chartOf(series, title, kind, parts, key, format = count) {
  const known = parts.filter(({ name }) => series.values[name]?.some((value) => value !== null));
  const shown = (known.length ? known : parts.slice(0, 1)).map((part) => ({ ...part, values: series.values[part.name] ?? series.starts.map(() => null) }));
  const field = FIELD[key];
  const silent = kind === 'stack' ? shown.filter((part, place) => place === 0 || part.values.some((value) => value)) : shown;
  return {
    title, kind, format, series: silent, period: series.period, starts: series.starts, ends: series.ends, states: series.states,
    reasons: series.reasons, absent: known.length || !field ? [] : series.missing.filter((name) => name === field),
    leftOut: !known.length && parts.some(({ name }) => series.leftOut.includes(name)), tableFormat: format === duration ? duration : exact,
  };
}

/** Requests by status: by class where the slots have them, else errors and the rest. */
export function byStatus(series) {
  const { values } = series;
  const { late } = series; // said once a view
  if (values.status_2xx) return { ...chartOf(series, 'Requests by status', 'stack', CLASSES, 'status_4xx'), late };
  const rest = derived(values, ['requests', 'status_4xx', 'status_5xx'], (all, client, server) => all - client - server);
  const parts = [{ name: 'rest', label: '2xx, 3xx and 0xx', role: 'ok' }, ...CLASSES.filter(({ name }) => name in values)];
  return chartOf({ ...series, values: { ...values, rest } }, 'Requests by status', 'stack', parts, 'status_4xx');
}

/** People and bots; where the slots count people alone, the rest is one. */
export function byAudience(series) {
  const { values } = series;
  if (values.bots) return chartOf(series, 'People and bots', 'stack', AUDIENCE, 'human');
  const bots = derived(values, ['requests', 'human'], (all, human) => all - human);
  const parts = [AUDIENCE[0], { ...AUDIENCE[1], label: 'bots and others' }];
  return chartOf({ ...series, values: { ...values, bots } }, 'People and bots', 'stack', parts, 'human');
}

const RESULTS = [
  { name: 'hits', label: 'Hit', role: 'good' },
  { name: 'refresh_hits', label: 'RefreshHit', role: 'moved' },
  { name: 'shield_hits', label: 'OriginShieldHit', role: 'ok' },
  { name: 'misses', label: 'Miss', role: 'warn' },
  { name: 'redirects', label: 'Redirect', role: 'none' },
  { name: 'errors', label: 'Error', role: 'bad', pattern: 'sa-stripes' },
  { name: 'other_results', label: 'other', role: 'bots' },
];

export const byResult = (series) => chartOf(series, 'Result types', 'stack', RESULTS, 'hits');
export const serveTime = (series) => chartOf(series, 'Serve time', 'lines', TIMES, 'p95', duration);
export const bytesSent = (series) => chartOf(series, 'Bytes', 'stack', [{ name: 'bytes', label: 'sent', role: 'ok' }], 'bytes', bytes);
