// The form for the key, where the API wants one.

import { el } from '../lib/dom.js';
import { session } from '../lib/session.js';

/** A form whose key is kept in memory, and in this tab if its box is ticked. said: the API's own sentence. */
export function keyForm(said) {
  const key = el('input', { type: 'password', name: 'key', autocomplete: 'off', required: true });
  const tick = el('input', { type: 'checkbox', name: 'keep' });
  return el('form', { class: 'keyform', 'aria-label': 'API key', onsubmit: (event) => {
    event.preventDefault();
    session.setKey(key.value, tick.checked);
  } },
  el('h2', {}, 'This needs the API key'), el('p', {}, said),
  el('label', {}, 'Key ', key), el('label', { class: 'tick' }, tick, ' Keep it in this tab until it is closed'),
  el('button', { type: 'submit' }, 'Use it'));
}
