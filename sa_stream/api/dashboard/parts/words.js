// Sentences about charts and their slots. Pure.

import { leftOutWords, reasonWords, stateWords, sum } from '../lib/answers.js';
import { plural } from '../lib/numbers.js';
import { DAY, clock, moment } from '../lib/times.js';
import { session } from '../lib/session.js';

/** 'Not in your field list: x-edge-result-type.' */
export const notInList = (fields) => `Not in your field list: ${fields.join(', ')}.`;

/** Why a chart has nothing to draw. */
export function missingNote(data) {
  if (data.absent?.length) return notInList(data.absent);
  if (data.leftOut) return `${leftOutWords(data.period).replace(/^./, (letter) => letter.toUpperCase())}.`;
  return data.starts.length ? 'Nothing was measured.' : 'No slot in this range.';
}

/** One sentence that says what a chart shows. */
export function summary(data) {
  if (!data.starts.length) return missingNote(data);
  if (data.kind === 'lines') {
    const most = data.series.map((each) => `${each.label} at most ${data.format(Math.max(...each.values.filter((value) => value !== null)))}`);
    const known = data.series.some((each) => each.values.some((value) => value !== null));
    return `${known ? most.join(', ') : missingNote(data)}; ${stateWords(data.states)}.`.replace('.;', ';');
  }
  const parts = data.series.map((each) => [each.label, sum(each.values)]).filter(([, value]) => value !== null);
  if (!parts.length) return `${missingNote(data).replace(/\.$/, '')}; ${stateWords(data.states)}.`;
  return `${parts.map(([label, value]) => `${data.format(value)} ${label}`).join(', ')}; ${stateWords(data.states)}. ${silence(data)}`.trim();
}

/** The longest stretch without requests, if there is one. */
function silence({ states, starts, ends }) {
  let longest = [0, 0];
  let first = 0;
  states.forEach((state, place) => {
    if (state !== 'zero') first = place + 1;
    else if (place + 1 - first > longest[1] - longest[0]) longest = [first, place + 1];
  });
  if (longest[1] - longest[0] < 2) return '';
  const words = starts.at(-1) - starts[0] < 1.5 * DAY ? clock : moment;
  const [from, to] = [starts[longest[0]], ends[longest[1] - 1]].map((ms) => words(ms, session.labels));
  return `No requests between ${from} and ${to} (final).`;
}

/** A slot and what to believe of it: 'Mon 16 Feb, 14:30, partial: a shard is behind'. */
export function slotWords(data, place) {
  const said = { final: 'final', zero: 'no requests (final)', partial: 'partial', missing: 'missing', open: 'to come' }[data.states[place]];
  const why = { missing: `: ${reasonWords(data.reasons[place])}`, partial: `: ${reasonWords(data.reasons[place] || 'partial')}` }[data.states[place]] ?? '';
  const late = data.late?.[place] > 0 ? `, revised: ${plural(data.late[place], 'record')} came late` : '';
  return `${moment(data.starts[place], session.labels)}, ${said}${why}${late}`;
}
