// <sa-timeline>: a square for each half hour, a row for each day: final, partial, zero, from S3, or missing.
//
// `show` gets the same {starts, states, reasons, provenances} as a chart, and the zone of the days.

import { el, svg } from '../lib/dom.js';
import { slotWords } from './words.js';
import { stateWords } from '../lib/answers.js';
import { DAY, HALF_HOUR, clock, dayStart, weekday } from '../lib/times.js';
import { ensurePatterns } from './patterns.js';

const SIZE = 16;
const LEFT = 56;
const TOP = 18;

export class Timeline extends HTMLElement {
  #data = null;
  #at = null;

  show(data) {
    ensurePatterns();
    this.#data = data;
    if (!this.figure) this.#build();
    this.sentence.textContent = `Half hours: ${stateWords(data.states)}.`;
    const days = [...new Set(data.starts.map((start) => dayStart(start, data.zone)))];
    this.picture.replaceChildren(this.#picture(days));
    this.map.setAttribute('aria-valuemax', Math.max(data.starts.length - 1, 0));
    this.#mark();
  }

  #build() {
    this.sentence = el('p', { class: 'summary' });
    this.picture = el('div');
    this.said = el('p', { class: 'note' }, 'Arrow keys move through the half hours, Enter opens one.');
    this.map = el('div', {
      class: 'squares', role: 'slider', tabindex: 0, 'aria-label': 'Windows, one square a half hour', 'aria-valuemin': 0,
      'aria-valuenow': 0, 'aria-valuetext': 'no window', onkeydown: (event) => this.#key(event),
      onpointerover: (event) => this.#point(event), onclick: () => this.#open(),
    }, this.picture);
    const key = (name, label) => el('li', {}, svg('svg', { width: 12, height: 12, 'aria-hidden': 'true' }, ...square(0, 0, 12, name)), label);
    this.figure = el('figure', {}, el('figcaption', {}, el('h2', {}, 'Timeline of windows'), this.sentence),
      el('ul', { class: 'legend' }, key('final', 'final'), key('partial', 'partial'), key('zero', 'no requests (final)'),
        key('s3', 'from S3'), key('missing', 'missing')), this.map, this.said);
    this.append(this.figure);
  }

  #picture(days) {
    const { starts, states, provenances, zone } = this.#data;
    const squares = starts.flatMap((start, place) => {
      const day = dayStart(start, zone);
      const x = LEFT + Math.floor((start - day) / HALF_HOUR) * SIZE;
      const state = provenances[place] === 's3' && states[place] === 'final' ? 's3' : states[place];
      const group = svg('g', { class: 'slot', data: { place } }, ...square(x, TOP + days.indexOf(day) * SIZE, SIZE - 2, state));
      return [group];
    });
    const hours = [0, 6, 12, 18].map((hour) =>
      svg('text', { x: LEFT + hour * 2 * SIZE, y: 12, class: 'label' }, clock(days[0] + hour * 2 * HALF_HOUR, zone)));
    const labels = days.map((day, row) => svg('text', { x: 0, y: TOP + row * SIZE + 12, class: 'label' }, weekday(day + DAY / 2, zone)));
    return svg('svg', { viewBox: `0 0 ${LEFT + 50 * SIZE} ${TOP + days.length * SIZE}`, 'aria-hidden': 'true', class: 'sa-plot' },
      ...hours, ...labels, ...squares);
  }

  #mark() {
    for (const group of this.picture.querySelectorAll('.slot')) group.classList.toggle('at', Number(group.dataset.place) === this.#at);
    if (this.#at === null || !this.#data.starts[this.#at]) return;
    this.said.textContent = slotWords(this.#data, this.#at);
    this.map.setAttribute('aria-valuenow', this.#at);
    this.map.setAttribute('aria-valuetext', slotWords(this.#data, this.#at));
  }

  #key(event) {
    const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: 48, ArrowUp: -48 };
    const last = this.#data.starts.length - 1;
    if (event.key === 'Enter') this.#open();
    else if (event.key in steps) this.#at = this.#at === null ? last : Math.min(Math.max(this.#at + steps[event.key], 0), last);
    else return;
    event.preventDefault();
    this.#mark();
  }

  #point(event) {
    const group = event.target.closest('.slot');
    if (!group) return;
    this.#at = Number(group.dataset.place);
    this.#mark();
  }

  #open() {
    if (this.#at === null) return;
    const start = this.#data.starts[this.#at];
    const detail = { start, end: start + HALF_HOUR, period: '30min' };
    this.dispatchEvent(new CustomEvent('sa-open', { bubbles: true, detail }));
  }
}

/** Each state has a form of its own, beside its colour. */
function square(x, y, size, state) {
  const box = (attributes) => svg('rect', { x, y, width: size, height: size, rx: 2, ...attributes });
  if (state === 'open') return [box({ fill: 'transparent' })]; // nothing, but for a pointer
  if (state === 'missing') return [box({ fill: 'url(#sa-hatch)', class: 'missing' })];
  if (state === 'zero') return [box({ class: 'hollow' }), svg('path', { d: `M${x + 3} ${y + size / 2}h${size - 6}`, class: 'zeroline' })];
  if (state === 's3') return [box({ class: 'bar bots' }), box({ fill: 'url(#sa-dots)' })];
  if (state === 'partial') return [box({ class: 'hollow' }), svg('rect', { x, y: y + size / 2, width: size, height: size / 2, class: 'bar ok partial' })];
  return [box({ class: 'bar ok' })];
}
