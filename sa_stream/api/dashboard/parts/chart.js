// <sa-chart>: a figure of bars or lines over time, with a cursor, a selection and a table behind it.
//
// Gets `data`: {title, kind: stack or lines, series: [{name, label, role, pattern, values}], period, starts, ends,
// states, reasons, late, format}. Tells its view with events: `sa-cursor` {start}, `sa-select` {from, to},
// `sa-open` {start, end, period}.

import { missingNote, slotWords, summary } from './words.js';
import { ensurePatterns } from './patterns.js';
import { geometry, plot } from './plot.js';
import { exact } from '../lib/numbers.js';
import { keyOfSlot } from '../lib/periods.js';
import { el, setText, svg } from '../lib/dom.js';
import { iso } from '../lib/times.js';
import { session } from '../lib/session.js';

export class Chart extends HTMLElement {
  #data = null;
  #cursor = null;
  #mark = null; // where a selection began
  #sizes = new ResizeObserver(() => this.#draw());

  connectedCallback() {
    ensurePatterns();
    if (this.figure) return this.#sizes.observe(this.plot);
    this.caption = el('h2');
    this.sentence = el('p', { class: 'summary' });
    this.legend = el('ul', { class: 'legend' });
    this.plot = el('div', {
      class: 'plot', tabindex: 0, role: 'slider', 'aria-valuemin': 0, 'aria-valuenow': 0, 'aria-valuetext': 'no slot',
      onkeydown: (event) => this.#key(event), onpointermove: (event) => this.#point(event),
      onpointerdown: (event) => this.#press(event), onpointerup: (event) => this.#release(event),
      onpointerleave: () => this.#leave(), onblur: () => this.#move(null),
    });
    this.tip = el('div', { class: 'tip', hidden: true });
    this.table = el('details', { class: 'twin', ontoggle: () => this.#tell() }, el('summary', {}, 'Table'));
    this.figure = el('figure', {}, el('figcaption', {}, this.caption, this.sentence), this.legend,
      el('div', { class: 'paper' }, this.plot, this.tip), this.table);
    this.append(this.figure);
    this.#sizes.observe(this.plot);
  }

  disconnectedCallback() {
    this.#sizes.disconnect();
  }

  set data(data) {
    this.#data = data;
    if (this.#cursor >= data.starts.length) this.#cursor = null; // a shorter range has no such slot
    setText(this.caption, data.title);
    setText(this.sentence, summary(data));
    this.plot.setAttribute('aria-label', `${data.title}: arrow keys move through ${data.starts.length} slots`);
    this.plot.setAttribute('aria-valuemax', Math.max(data.starts.length - 1, 0));
    this.legend.replaceChildren(...data.series.map((each, order) => el('li', {}, swatch(each, data.kind, order), each.label)),
      ...stateKeys(data));
    this.#draw();
    this.#tell();
  }

  get data() {
    return this.#data;
  }

  /** Shows the slot that begins at a time, or none. */
  set cursor(startMs) {
    const place = startMs === null ? null : (this.#data?.starts.indexOf(startMs) ?? -1);
    this.#cursor = place === null || place < 0 ? null : place;
    this.#drawCursor();
  }

  #draw() {
    const data = this.#data;
    if (!data || !this.plot.clientWidth) return;
    this.classList.toggle('empty', !data.starts.length);
    if (!data.starts.length) return this.plot.replaceChildren(el('p', { class: 'note' }, missingNote(data)));
    this.plot.replaceChildren(plot(data, this.plot.clientWidth, session.labels));
    const known = data.series.some((each) => each.values.some((value) => value !== null && value !== undefined));
    const told = data.states.some((state) => state === 'final' || state === 'partial');
    if (!known && told) this.plot.append(el('p', { class: 'note over' }, missingNote(data)));
    this.#drawCursor();
  }

  #drawCursor() {
    const group = this.plot.querySelector('g.cursor');
    this.tip.hidden = this.#cursor === null || !group;
    if (!group) return;
    group.replaceChildren();
    if (this.#cursor === null) return;
    const data = this.#data;
    const geo = geometry(data, this.plot.clientWidth);
    const [x, width] = geo.band(this.#cursor);
    const [other] = geo.band(this.#mark ?? this.#cursor);
    group.append(svg('rect', { x: Math.min(x, other), y: 0, width: width + Math.abs(x - other), height: 200 }));
    this.#drawTip(x + width / 2);
    this.plot.setAttribute('aria-valuenow', this.#cursor);
    this.plot.setAttribute('aria-valuetext', `${slotWords(data, this.#cursor)}, ${this.#values().map((each) => each.join(' ')).join(', ')}`);
  }

  #values() {
    const value = (each) => each.values[this.#cursor];
    const { format, series } = this.#data;
    return series.map((each) => [each.label, format(value(each)), value(each)]).map(([label, text]) => [label, text]);
  }

  #drawTip(x) {
    const { period, starts, ends } = this.#data;
    const key = keyOfSlot(period, starts[this.#cursor], ends[this.#cursor]);
    this.tip.replaceChildren(
      el('strong', {}, slotWords(this.#data, this.#cursor)),
      el('dl', {}, ...this.#values().flatMap(([label, text]) => [el('dt', {}, label), el('dd', {}, text)])),
      el('p', { class: 'note' }, this.#mark === null ? `Enter or click: entry ${key}` : 'Enter: look at this stretch'),
    );
    const right = x > this.plot.clientWidth / 2;
    this.tip.style.left = right ? 'auto' : `${x + 12}px`;
    this.tip.style.right = right ? `${this.plot.clientWidth - x + 12}px` : 'auto';
  }

  #move(place) {
    if (place === null) this.#mark = null;
    const start = place === null ? null : this.#data.starts[place];
    this.dispatchEvent(new CustomEvent('sa-cursor', { bubbles: true, detail: { start } }));
  }

  #key(event) {
    const last = (this.#data?.starts.length ?? 0) - 1;
    if (last < 0) return;
    const at = this.#cursor;
    const steps = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, PageUp: 8, PageDown: -8 };
    if (event.key in steps) {
      if (event.shiftKey) this.#mark ??= at ?? last;
      else this.#mark = null;
      this.#move(at === null ? last : Math.min(Math.max(at + steps[event.key], 0), last));
    } else if (event.key === 'Home') this.#move(0);
    else if (event.key === 'End') this.#move(last);
    else if (event.key === 'Enter' && at !== null) this.#choose(at);
    else if (event.key === 'Escape' && this.#mark !== null) {
      this.#mark = null;
      this.#move(at);
    } else return;
    event.preventDefault();
    event.stopPropagation();
  }

  #placeAt(event) {
    const data = this.#data;
    if (!data?.starts.length) return null;
    return geometry(data, this.plot.clientWidth).placeAt(event.clientX - this.plot.getBoundingClientRect().left);
  }

  #point(event) {
    const place = this.#placeAt(event);
    if (place !== null && place !== this.#cursor) this.#move(place);
  }

  #press(event) {
    if (event.button !== 0) return;
    this.#mark = this.#placeAt(event);
    this.plot.setPointerCapture(event.pointerId);
  }

  #release(event) {
    const place = this.#placeAt(event);
    if (this.#mark !== null && place !== null) this.#choose(place);
  }

  #leave() {
    if (document.activeElement !== this.plot) this.#move(null);
  }

  #choose(place) {
    const { starts, ends, period } = this.#data;
    const from = this.#mark ?? place;
    this.#mark = null;
    const told = from === place
      ? new CustomEvent('sa-open', { bubbles: true, detail: { start: starts[place], end: ends[place], period } })
      : new CustomEvent('sa-select', { bubbles: true, detail: { from: starts[Math.min(from, place)], to: ends[Math.max(from, place)] } });
    this.dispatchEvent(told);
  }

  /** The table twin, made when somebody opens it. */
  #tell() {
    const data = this.#data;
    if (!this.table.open || !data) return;
    const table = this.table.querySelector('sa-table') ?? this.table.appendChild(document.createElement('sa-table'));
    const columns = data.series.map((each) => ({ name: each.name, label: each.label, format: data.tableFormat ?? exact }));
    table.show({
      title: data.title, order: null,
      columns: [{ name: 'from', label: 'From (UTC)' }, ...columns, { name: 'state', label: 'State' }, { name: 'reason', label: 'Reason' }],
      rows: data.starts.map((start, place) => ({
        from: iso(start), state: data.states[place], reason: data.reasons[place],
        ...Object.fromEntries(data.series.map((each) => [each.name, each.values[place] ?? null])),
      })),
    });
  }
}

/** The sign of a series in a legend. */
function swatch(each, kind, order) {
  const shape = kind === 'stack'
    ? [svg('rect', { width: 12, height: 12, class: `bar ${each.role}` }), each.pattern && svg('rect', { width: 12, height: 12, fill: `url(#${each.pattern})` })]
    : [svg('path', { d: 'M0 6h12', class: `line ${each.role} dash${order}` })];
  return svg('svg', { width: 12, height: 12, 'aria-hidden': 'true' }, ...shape.filter(Boolean));
}

const stateKeys = (data) => [
  data.states.includes('partial') && el('li', { class: 'state' }, 'lighter: partial'),
  data.states.includes('missing') && el('li', { class: 'state' },
    svg('svg', { width: 12, height: 12, 'aria-hidden': 'true' }, svg('rect', { width: 12, height: 12, fill: 'url(#sa-hatch)' })), 'hatched: missing'),
  data.late?.some((each) => each > 0) && el('li', { class: 'state' }, 'bar at the top: revised by late records'),
].filter(Boolean);
