// Pipeline: the verdict first, then what is final, then shards and stores. For whoever was woken.

import { health } from '../lib/api.js';
import { reasonWords, series } from '../lib/answers.js';
import { el, setText } from '../lib/dom.js';
import { count, exact, plural, span } from '../lib/numbers.js';
import { keyOf } from '../lib/periods.js';
import { session } from '../lib/session.js';
import { DAY, clockSeconds, dayStart, iso, moment, recent } from '../lib/times.js';
import { View } from '../parts/view.js';

const DAYS = 7;
const KEYS = 200; // the most that the API lists at once: four days of half hours
const PAGES_MAX = 3; // a week is two; one more, as entries may come while it is read
const SILENT_S = 5 * 60; // `status/stream` is written every minute: if it is older, nobody publishes
const BEHIND_S = 75 * 60; // as for what is final: a half hour that is waited for began longer ago than that
// Counters of records that are in no entry. Each leaves a dead letter, of at most 60 a minute and shard.
const DROPPED = ['too_long', 'fields', 'timestamp', 'status', 'columns', 'future', 'too_late', 'set_aside_records'];

export class Pipeline extends View {
  static view = 'pipeline';
  static appId = 'sa-pipeline';
  static navLabel = 'Pipeline';
  static navIcon = '⇶';
  static ranged = false;

  build(content) {
    this.verdict = el('p', { class: 'verdict' });
    this.reasons = el('ul', { class: 'gaps' });
    this.timeline = document.createElement('sa-timeline');
    const table = (name) => (this[name] = document.createElement('sa-table'));
    content.append(this.verdict, this.reasons, this.timeline, table('shards'),
      el('div', { class: 'pair' }, table('stores'), table('gaps'), table('steps'), table('jobs'), table('facts')));
  }

  async read({ now, get, maybe }) {
    const from = dayStart(now, 'UTC', 1 - DAYS);
    const [known, status, windows] = await Promise.all([
      health(), maybe('cloudfront/status'),
      get('traffic/timeseries', { from: iso(from), to: iso(from + DAYS * DAY), period: '30min', metrics: 'requests' }),
    ]);
    // Which half hours were repaired, only their own entries say; so they are asked where there is one at all.
    const repaired = ['s3', 'mixed'].includes(windows.provenance);
    const provenances = repaired ? await provenancesFrom(keyOf('30min', from), maybe) : new Map();
    return { known, status, windows, provenances };
  }

  draw({ known, status, windows, provenances }, { now }) {
    const stream = streamOf(status);
    this.#say(known, stream, now);
    const lines = series(windows);
    const begun = lines.starts.filter((start) => start <= now).length;
    const cut = (column) => column.slice(0, begun);
    const origins = lines.starts.map((start) => provenances.get(keyOf('30min', start)));
    this.timeline.show({ starts: cut(lines.starts), states: cut(lines.states), reasons: cut(lines.reasons), provenances: origins, zone: 'UTC' });
    this.shards.show(shardTable(known, stream));
    this.stores.show(storeTable(known));
    this.gaps.show(gapTable(stream));
    this.steps.show(recordTable('Last runs of each step', status?.last_runs));
    this.jobs.show(recordTable('Jobs', status?.jobs));
    this.facts.show(factTable(known, stream, status));
  }

  #say(known, stream, now) {
    const { kind, words } = verdictOf(known, stream, now);
    setText(this.verdict, words);
    this.verdict.className = `verdict ${kind}`;
    const more = [...(known?.reasons ?? []).slice(1), ...(known?.notes ?? [])];
    this.reasons.replaceChildren(...more.map((each) => el('li', {}, `${each[0].toUpperCase()}${each.slice(1)}.`)));
  }
}

/** Whether all is well, in a sentence. A process that tells of itself knows best; else the cache has to do. */
function verdictOf(known, stream, now) {
  const bad = (words) => ({ kind: 'is-bad', words });
  if (known?.reasons?.length) return bad(`Not ready: ${known.reasons[0]}.`);
  const until = untilWords(stream, now);
  const ready = known && (known.ready ?? known.status === 'ready');
  if (known && !ready) return bad(`Not ready, for a reason that is not told here${until}.`);
  if (!known && !stream) return { kind: '', words: 'Nothing is known of shards.' };
  if (!known) {
    const silent_s = (now - Date.parse(stream.computed_at)) / 1000;
    if (!(silent_s < SILENT_S)) return bad(`Nobody has published for ${span(silent_s)}${until}.`);
    if (stream.lag_s > BEHIND_S) return bad(`The slowest shard is ${span(stream.lag_s)} behind${until}.`);
  }
  return { kind: 'is-good', words: `${readWords(known, stream)}${until}.` };
}

/** Until when all is final. Gaps have been said by then, and nobody need do anything: they make nothing unready. */
function untilWords(stream, now) {
  if (!stream?.final_until) return '';
  const gaps = stream.gaps?.length ? ` but for ${plural(stream.gaps.length, 'gap')}` : '';
  return `, final until ${recent(Date.parse(stream.final_until), now, session.labels)}${gaps}`;
}

/** 'Both shards are read, lag 3.2 s' */
function readWords(known, stream) {
  const shards = Object.values(known?.shards ?? {});
  const lags = shards.map((shard) => shard.lag_ms).filter((lag) => lag !== null && lag !== undefined);
  const lag = lags.length ? Math.max(...lags) / 1000 : stream?.lag_s;
  const lagWords = typeof lag === 'number' ? `, lag ${span(lag)}` : '';
  const number = shards.length || stream?.partitions || 0;
  if (!number) return `No shard is read${known ? ' by this process' : ''}${lagWords}`;
  return `${{ 1: 'The only shard is', 2: 'Both shards are' }[number] ?? `All ${number} shards are`} read${lagWords}`;
}

/** The provenance of each half hour by its key, back to the one of the first key. */
async function provenancesFrom(first, maybe) {
  const told = new Map();
  let after = null;
  for (let page = 0; page < PAGES_MAX && (after === null || after > first); page += 1) {
    const { rows, more } = (await maybe('cache/browse/30min', { limit: KEYS, after })) ?? { rows: [], more: false };
    for (const row of rows) told.set(row.key, row.provenance);
    if (!more || !rows.length) break;
    after = rows.at(-1).key;
  }
  return told;
}

const streamOf = (status) => status?.stream ?? null;
const when = (text) => (text ? moment(Date.parse(text), session.labels) : '–');
const text = (name, label) => ({ name, label, wrap: true });

function shardTable(known, stream) {
  const rows = known?.shards
    ? Object.entries(known.shards).map(([shard, each]) => ({
      shard, lag: each.lag_ms === null ? null : each.lag_ms / 1000, watermark: each.watermark, commit: each.last_commit,
      read: each.last_read, ...each.counters, state: stateOf(each),
    }))
    : Object.entries(stream?.watermarks ?? {}).map(([shard, watermark]) => ({ shard, lag: null, watermark, commit: null, read: null, state: '–' }));
  const counters = [...new Set(rows.flatMap((row) => Object.keys(row)))].filter((name) => typeof rows.find((row) => name in row)[name] === 'number' && name !== 'lag');
  const time = (name, label) => ({ name, label, text: (row) => (row[name] ? clockSeconds(Date.parse(row[name]), session.labels) : '–') });
  return {
    title: 'Shards', heading: true, rows, order: { name: 'lag', down: true },
    note: rows.length ? plural(rows.length, 'shard') + (known?.shards ? ' of this process.' : ' by the cache alone.') : 'No shard: this process reads none, or has not begun.',
    columns: [text('shard', 'Shard'), text('state', 'State'), { name: 'lag', label: 'Lag', format: span }, time('watermark', 'Watermark'),
      time('commit', 'Last commit'), time('read', 'Last read'), ...counters.map((name) => ({ name, label: name.replaceAll('_', ' '), format: count }))],
  };
}

function stateOf(shard) {
  if (shard.blocked) return `blocked: ${shard.blocked}`;
  if (shard.unreadable) return `cannot be read: ${shard.unreadable}`;
  if (shard.malformed) return shard.malformed;
  return shard.ended ? 'ended' : 'read';
}

function storeTable(known) {
  const rows = Object.entries(known?.stores ?? {}).map(([store, each]) => ({
    store, state: each.ok ? 'works' : `failing since ${when(each.failing_since)}: ${each.reason}`, ok: when(each.last_ok) }));
  if (known?.stores) rows.push({ store: 'KCL', state: known.kcl ?? 'not used: shards are read without it', ok: '–' });
  return { title: 'Stores and KCL', heading: true, rows, order: null, note: rows.length ? '' : 'Not told here.',
    columns: [text('store', 'Store'), text('state', 'State'), text('ok', 'Last success')] };
}

function gapTable(stream) {
  const rows = (stream?.gaps ?? []).map((gap) => ({ from: when(gap.from), to: when(gap.to), reason: reasonWords(gap.reason) }));
  const waiting = (stream?.repairs?.waiting ?? []).map((start) => ({ from: when(start), to: '–', reason: 'waits for the archive' }));
  return { title: 'Gaps and repairs', heading: true, rows: [...rows, ...waiting], order: null, note: rows.length + waiting.length ? '' : 'None.',
    columns: [text('from', 'From'), text('to', 'To'), text('reason', 'Why')] };
}

/** Whatever a list or a map of small records has, as rows. */
function recordTable(title, records) {
  const given = Array.isArray(records) ? records : Object.entries(records ?? {}).filter(([, each]) => each).map(([name, each]) => ({ name, ...each }));
  const plain = (value) => (value === null || value === undefined ? '–' : typeof value === 'object' ? JSON.stringify(value) : String(value));
  const rows = given.map((row) => Object.fromEntries(Object.entries(row).map(([name, value]) => [name, plain(value)])));
  const names = [...new Set(rows.flatMap((row) => Object.keys(row)))];
  return { title, heading: true, rows, order: null, note: rows.length ? '' : 'None yet.', columns: names.map((name) => text(name, name.replaceAll('_', ' '))) };
}

function factTable(known, stream, status) {
  const letters = Object.values(known?.shards ?? {}).flatMap(({ counters }) => DROPPED.map((name) => counters[name] ?? 0)).reduce((sum, each) => sum + each, 0);
  const rows = [
    ['Records that became dead letters', known?.shards ? exact(letters) : null], ['Covers since', stream && (stream.covers_since ? when(stream.covers_since) : 'the beginning')],
    ['Watermark', when(stream?.watermark)], ['Status written', when(stream?.computed_at)],
    ['Workers seen', stream && Object.keys(stream.workers ?? {}).join(', ')], ['Running since', when(known?.started)],
    ['Clock ahead of ours', known?.shards && `${known.clock_offset_ms} ms`], ['Log lines dropped', known?.shards && exact(known.log_lines_dropped)],
    ['Log files not read', status?.unprocessed_files && `${exact(status.unprocessed_files.unread)} of ${exact(status.unprocessed_files.files)}, of the last ${plural(status.unprocessed_files.hours, 'hour')}`],
    ['Version', stream?.version ?? Object.values(known?.versions ?? {})[0]],
  ].filter(([, value]) => value && value !== '–').map(([name, value]) => ({ name, value }));
  return { title: 'Facts', heading: true, rows, order: null, note: '', columns: [text('name', 'What'), text('value', 'Value')] };
}
