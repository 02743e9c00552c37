// The list of keys.

import { button, el } from '../lib/dom.js';

const KEYS = [
  ['1 to 8', 'the views, in their order'],
  ['Tab', 'from chart to chart, table to table'],
  ['← →', 'the slot before, after (Page Up and Down: eight of them; Home, End)'],
  ['Enter', 'opens the entry of the slot'],
  ['Shift + ← →, then Enter', 'looks at a stretch; so does dragging'],
  ['Esc', 'takes a stretch back'],
  ['?', 'this list'],
];

export function helpDialog() {
  const dialog = el('dialog', { class: 'help', 'aria-label': 'Keys' }, el('h2', {}, 'Keys'),
    el('dl', {}, ...KEYS.flatMap(([key, does]) => [el('dt', {}, key), el('dd', {}, does)])),
    button('Close', () => dialog.close()));
  return dialog;
}
