// The tiles of the overview: a value, how it changed against the same complete slots before, a line.

import { compared, derived, leftOutWords, rateOf, sum } from '../lib/answers.js';
import { el, setText } from '../lib/dom.js';
import { bytes, count, duration, exact, percent, share } from '../lib/numbers.js';
import { WORDS } from '../lib/periods.js';

const TILES = [
  { name: 'requests', label: 'Requests', format: count },
  { name: 'page_views', label: 'Page views', format: count },
  { name: 'bytes', label: 'Bytes', format: bytes },
  { name: 'hits', label: 'Hit rate', format: percent, rate: true, better: 1 },
  { name: 'status_5xx', label: '5xx', format: (value) => percent(value, 2), rate: true, better: -1 },
  { name: 'p95', label: 'p95', format: duration, better: -1 },
];

/** A row of tiles: {element, show({now, then, exactly, whole})}. */
export function tiles() {
  const all = TILES.map((tile) => {
    const value = el('dd', { class: 'value' }, '–');
    const change = el('dd', { class: 'change' });
    const spark = document.createElement('sa-spark');
    return { tile, value, change, spark, element: el('div', { class: 'tile' }, el('dt', {}, tile.label), value, change, el('dd', {}, spark)) };
  });
  const show = (facts) => {
    for (const each of all) drawn(each, facts);
  };
  return { element: el('dl', { class: 'tiles', 'aria-label': 'Totals' }, ...all.map((each) => each.element)), show };
}

/**
 * now, then  series of what is looked at and of the range before it (null: none)
 * exactly    percentiles of the whole range where one entry is the range, {p95, before}; else null
 */
function drawn({ tile, value, change, spark }, { now, then, exactly, before }) {
  const shown = valueOf(tile, now, exactly);
  const text = tile.format(shown.value);
  value.classList.toggle('fresh', value.textContent !== text && value.textContent !== '–');
  setText(value, text);
  value.title = shown.value === null ? shown.why : `${tile.rate ? `${shown.value.toFixed(2)} %` : exact(shown.value)}${shown.why ? ` (${shown.why})` : ''}`;
  spark.values = lineOf(tile, now);
  const sides = then ? changeOf(tile, now, then, exactly) : null;
  const found = sides && changed(tile, sides);
  setText(change, found?.text ?? shown.why ?? '');
  change.title = found ? `${found.words}, against ${before}` : '';
  change.className = `change ${found?.class ?? ''}`;
}

function valueOf(tile, now, exactly) {
  if (tile.name === 'p95') {
    const known = (exactly ? [exactly.p95] : now.values.p95 ?? []).filter((each) => each !== null);
    if (!known.length) return { value: null, why: absent(now, tile) };
    return { value: Math.max(...known), why: exactly ? '' : `highest ${WORDS[now.period]}` };
  }
  const value = tile.rate ? rateOf(now.values, tile.name, 'requests') : sum(now.values[tile.name]);
  return { value, why: value === null ? absent(now, tile) : '' };
}

const FIELDS = {
  bytes: ['sc-bytes'], hits: ['x-edge-result-type'], status_5xx: ['sc-status'], p95: ['time-taken'],
  page_views: ['cs-user-agent', 'sc-content-type', 'cs-method'],
};

function absent(now, tile) {
  if (now.leftOut.includes(tile.name)) return leftOutWords(now.period);
  const missing = (FIELDS[tile.name] ?? []).filter((field) => now.missing.includes(field));
  return missing.length ? `not in your field list: ${missing.join(', ')}` : 'nothing yet';
}

function lineOf(tile, now) {
  if (!tile.rate) return now.values[tile.name] ?? [];
  return derived(now.values, [tile.name, 'requests'], share);
}

/** [now, then, over which slots]; null where it cannot be said. */
function changeOf(tile, now, then, exactly) {
  if (tile.name === 'p95') return exactly?.before ? [exactly.p95, exactly.before, 'the whole period'] : null;
  const both = compared(now, then);
  if (!both.slots) return null;
  return [...(tile.rate ? both.rate(tile.name, 'requests') : both.of(tile.name)), both.words];
}

function changed(tile, [now, then, words]) {
  if (now === null || then === null || then === undefined || (!then && !tile.rate)) return null;
  const difference = tile.rate ? now - then : (100 * (now - then)) / then;
  const size = Math.abs(difference);
  const decimals = tile.name === 'status_5xx' ? 2 : 1;
  const sign = Number(size.toFixed(decimals)) === 0 ? '=' : difference > 0 ? '▲' : '▼';
  const amount = tile.name === 'p95' ? duration(Math.abs(now - then)) : `${size.toFixed(decimals)} ${tile.rate ? 'pt' : '%'}`;
  const good = tile.better && sign !== '=' ? difference * tile.better > 0 : null;
  const verdict = good === null ? '' : good ? 'better' : 'worse';
  return { text: `${sign} ${amount}${verdict ? ` ${verdict}` : ''}`, class: { better: 'goodchange', worse: 'badchange' }[verdict] ?? '', words };
}
