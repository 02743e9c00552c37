// Which numbers a stretch is asked for: the slots of a day have few, and each further one costs a read of every slot.

import { DAY } from './times.js';

const LEAN = ['requests', 'human', 'bytes', 'hits', 'status_4xx', 'status_5xx'];
const CLASSES = ['status_2xx', 'status_3xx', 'status_4xx', 'status_5xx', 'status_0xx'];
const RESULTS = ['hits', 'refresh_hits', 'shield_hits', 'misses', 'redirects', 'errors', 'other_results'];

export const FULL = [...new Set(['requests', 'page_views', 'human', 'bots', 'unknown_agents', 'bytes', ...CLASSES, ...RESULTS,
  'p50', 'p95', 'p99', 'late_records'])].join(',');
export const SLIM = LEAN.join(',');

/** Whether every number of every slot can be asked for. */
export const isShort = (range) => range.to - range.from <= 2 * DAY;
