// Privacy: what is never read, what is dropped and scrubbed, which secrets exist, and how long things are kept.

import { el } from '../lib/dom.js';
import { View } from '../parts/view.js';

export class Privacy extends View {
  static view = 'privacy';
  static appId = 'sa-privacy';
  static navLabel = 'Privacy';
  static navIcon = '◍';
  static ranged = false;

  async read({ get }) {
    const status = await get('cloudfront/status');
    return { status };
  }

  draw({ status }) {
    const told = status.privacy;
    if (!told) {
      return this.content.replaceChildren(el('p', { class: 'note' },
        'This API does not tell the settings of its consumers: what reads here has no part in what they keep.'));
    }
    this.content.replaceChildren(el('div', { class: 'pair' },
      card('Never read', 'Fields that no list may have. If the records carry one, its column is not parsed.', [told.never_read.join(', ')]),
      card('Dropped by your settings', 'Columns that are never parsed (DROP_FIELDS).', told.dropped_fields),
      card('Scrubbed', 'What is left of a field. IP addresses become [ip], e-mail addresses [email]; they are looked for after decoding.', told.reduced),
      card('Rules for paths', 'What takes ids and tokens of your own out of paths (PATH_RULES).', told.path_rules ? [told.path_rules] : []),
      card('Months whose secrets exist', 'Request ids and agents are kept only as hashes under the secret of a month. It is destroyed once the month is final and too old to be amended.', told.secret_months),
      card('Retention', 'How long things are kept.', Object.entries(told.retention ?? {}).map(([what, span]) => `${what}: ${span}`)),
      card('Dead letters', 'Of a record that could not be read.', [told.dead_letter_text ? 'with its scrubbed text (DEAD_LETTER_TEXT)' : 'without its text'])));
  }
}

const card = (title, sentence, items) => el('section', { class: 'card' }, el('h2', {}, title), el('p', { class: 'summary' }, sentence),
  items?.length ? el('ul', { class: 'lines' }, ...items.map((item) => el('li', {}, item))) : el('p', { class: 'note' }, items ? 'None.' : 'Not told here.'));
