// Which role a name has in a chart: the colour comes from style.css, by class. Colour is never the only sign.

export const CLASSES = [
  { name: 'status_2xx', label: '2xx', role: 'ok' },
  { name: 'status_3xx', label: '3xx', role: 'moved' },
  { name: 'status_4xx', label: '4xx', role: 'warn' },
  { name: 'status_5xx', label: '5xx', role: 'bad', pattern: 'sa-stripes' },
  { name: 'status_0xx', label: '0xx (left before the answer)', role: 'none' },
];
export const AUDIENCE = [
  { name: 'human', label: 'people', role: 'ok' },
  { name: 'bots', label: 'bots', role: 'bots', pattern: 'sa-dots' },
  { name: 'unknown_agents', label: 'no agent', role: 'none' },
];
export const TIMES = [
  { name: 'p50', label: 'p50', role: 'good' },
  { name: 'p95', label: 'p95', role: 'ok' },
  { name: 'p99', label: 'p99', role: 'bots' },
];
const PALETTE = ['good', 'ok', 'moved', 'bots', 'warn', 'none'];

/** Roles for names that have none of their own, such as result types. */
export const roleOf = (place) => PALETTE[place % PALETTE.length];
