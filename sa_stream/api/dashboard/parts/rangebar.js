// The bar over a view: presets, a free range, and what is looked at.

import { button, el, setText } from '../lib/dom.js';
import { PRESETS, queryOf, words } from '../lib/range.js';
import { session } from '../lib/session.js';
import { instantOf, offset } from '../lib/times.js';

const field = (name, label) => {
  const input = el('input', { type: 'datetime-local', name, required: true, step: 60 });
  return [el('label', {}, `${label} `, input), input];
};

/** {element, show(range)}; `choose` gets the query of what was chosen. */
export function rangeBar(choose) {
  const presets = Object.entries(PRESETS).map(([name, label]) => button(label, () => choose({ range: name }), { data: { range: name } }));
  const shown = el('summary', { class: 'range' });
  const [from, fromInput] = field('from', 'From');
  const [to, toInput] = field('to', 'to');
  const note = el('p', { class: 'note' });
  const form = el('form', { onsubmit: (event) => {
    event.preventDefault();
    const times = [fromInput, toInput].map((input) => instantOf(Date.parse(`${input.value}Z`), session.labels));
    if (!(times[0] < times[1])) return setText(note, 'The end must be after the beginning.');
    setText(note, '');
    free.open = false;
    choose(queryOf({ name: null, from: times[0], to: times[1] }));
  } }, from, to, el('button', { type: 'submit' }, 'Show'), note);
  const free = el('details', { class: 'free' }, shown, form);
  const element = el('div', { class: 'rangebar' }, el('div', { class: 'presets', role: 'group', 'aria-label': 'Range' }, ...presets), free);
  const show = (range) => {
    for (const each of presets) each.setAttribute('aria-pressed', String(each.dataset.range === range.name));
    setText(shown, words(range, session.labels, session.days));
    if (!free.open) {
      fromInput.value = toLocal(range.from, session.labels);
      toInput.value = toLocal(range.to, session.labels);
    }
  };
  return { element, show };
}

const toLocal = (ms, zone) => new Date(ms + offset(ms, zone)).toISOString().slice(0, 16);
