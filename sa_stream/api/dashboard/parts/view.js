// What all views share: the bar with the range, what is known of the data, polling, and every state in which there is
// no fresh answer. A view says what it reads (`read`) and how it shows it (`draw`); old values stay until new ones come.

import { Api_Error, dashboardPath, get } from '../lib/api.js';
import { el, setText } from '../lib/dom.js';
import { plural } from '../lib/numbers.js';
import { keyOfSlot } from '../lib/periods.js';
import { Poller } from '../lib/poll.js';
import { queryOf, rangeOf } from '../lib/range.js';
import { session } from '../lib/session.js';
import { clock, clockSeconds, recent } from '../lib/times.js';
import { dressed } from './dress.js';
import { keyForm } from './keyform.js';
import { rangeBar } from './rangebar.js';

export class View extends HTMLElement {
  static ranged = true;
  /** Where the view is: {query, rest, go({view, rest, query})}. The frame has an address; a shell only this. */
  place = shellPlace(this);
  #poller = new Poller((attempt) => this.#refresh(attempt));
  #run = 0;
  #updated = null;
  #unlisten = null;

  connectedCallback() {
    if (!this.built) this.#build();
    if (!this.closest('admin-shell')) this.onActivated();
  }

  disconnectedCallback() {
    this.onDeactivated();
  }

  /** By the frame or the shell, when it is shown. */
  onActivated() {
    dressed(this);
    this.#unlisten ??= session.listen(() => this.refresh());
    this.#poller.start();
  }

  /** ... and when it no longer is. */
  onDeactivated() {
    this.#poller.stop();
    this.#unlisten?.();
    this.#unlisten = null;
  }

  /** Reads anew, as when the range or the zone has changed. */
  refresh() {
    document.documentElement.dataset.ready = 'false';
    return this.#poller.now();
  }

  #build() {
    this.classList.add('sa', 'sa-view');
    this.bar = rangeBar((query) => this.choose(query));
    this.updated = el('span', { class: 'updated' }, 'not loaded yet');
    this.final = el('span', { class: 'finaluntil' });
    this.said = el('p', { class: 'said', role: 'status' });
    this.banner = el('p', { class: 'banner', hidden: true });
    this.form = el('div');
    this.content = el('div', { class: 'content', 'aria-busy': 'true' });
    this.built = el('div', { class: 'bar' }, this.constructor.ranged ? this.bar.element : el('h1', {}, this.constructor.navLabel),
      el('div', { class: 'facts' }, this.final, this.updated));
    if (this.constructor.ranged) this.built.prepend(el('h1', { class: 'unseen' }, this.constructor.navLabel));
    this.append(this.built, this.said, this.banner, this.form, this.content);
    this.build?.(this.content);
    this.content.addEventListener('sa-cursor', (event) => this.#share(event.detail.start));
    this.content.addEventListener('sa-select', (event) => this.choose(queryOf({ name: null, ...event.detail })));
    this.content.addEventListener('sa-open', ({ detail }) => this.place.go({ view: 'entries', rest: keyOfSlot(detail.period, detail.start, detail.end) }));
    this.addEventListener('keydown', (event) => event.key === 'Escape' && this.back());
  }

  /** One cursor over all charts of the view. */
  #share(start) {
    for (const chart of this.content.querySelectorAll('sa-chart')) chart.cursor = start;
  }

  choose(query) {
    this.place.go({ query: { ...Object.fromEntries(this.place.query), from: null, to: null, range: null, ...query } });
  }

  /** Takes back a selection: the range before it. */
  back() {
    if (this.place.query.has('from')) this.place.back();
  }

  async #refresh(attempt) {
    const run = (this.#run += 1);
    const now = Date.now();
    const context = {
      now, range: rangeOf(this.place.query, now, session.days), query: this.place.query, rest: this.place.rest, get,
      maybe: (path, parameters) => get(path, parameters).catch(ifAbsent),
    };
    this.bar.show(context.range);
    let well = true;
    try {
      const answers = await this.read(context);
      if (run !== this.#run) return true;
      this.draw(answers, context);
      this.#fresh(answers, now);
    } catch (error) {
      if (run !== this.#run) return true;
      well = false;
      this.#failed(error, attempt);
    }
    this.#poller.wait(well ? 0 : attempt);
    this.content.setAttribute('aria-busy', 'false');
    requestAnimationFrame(() => requestAnimationFrame(() => {
      if (run === this.#run) document.documentElement.dataset.ready = 'true';
    }));
    return well;
  }

  #fresh(answers, now) {
    this.#updated = now;
    this.classList.remove('stale');
    this.content.hidden = false;
    this.form.replaceChildren();
    setText(this.said, '');
    setText(this.updated, `updated ${clockSeconds(now, session.labels)}`);
    const all = Object.values(answers ?? {}).filter((answer) => answer && typeof answer === 'object');
    const until = all.map((answer) => Date.parse(answer.final_until ?? '')).filter((ms) => !Number.isNaN(ms)).sort().at(-1);
    setText(this.final, until ? `final until ${recent(until, now, session.labels)}` : '');
    this.final.classList.toggle('late', until !== undefined && now - until > 75 * 60_000);
    const rates = all.map((answer) => answer.sampling_rate).filter((rate) => typeof rate === 'number' && rate < 100);
    this.banner.hidden = !rates.length;
    setText(this.banner, rates.length ? `Only ${rates[0]} % of the requests are logged: numbers count what is in the log.` : '');
  }

  #failed(error, attempt) {
    if (!(error instanceof Api_Error)) console.error(error);
    const wait_s = this.#poller.wait(attempt);
    const what = error instanceof Api_Error ? error.message.replace(/\.$/, '') : 'An answer could not be shown';
    this.form.replaceChildren();
    if (error.status === 401 || error.status === 403) {
      this.form.append(keyForm(error.message));
      this.content.hidden = this.#updated === null;
      setText(this.said, this.#updated ? `Showing data of ${clock(this.#updated, session.labels)}: the key is no longer taken.` : '');
    } else {
      const old = this.#updated ? `Showing data of ${clock(this.#updated, session.labels)}; ` : '';
      const sentence = old ? what[0].toLowerCase() + what.slice(1) : what;
      setText(this.said, `${old}${sentence} (retrying in ${plural(wait_s, 'second')}).`);
      const again = el('button', { type: 'button', onclick: () => this.refresh() }, 'Retry now');
      this.form.append(again);
    }
    this.classList.toggle('stale', this.#updated !== null);
  }
}

function ifAbsent(error) {
  if (error.status === 404) return null;
  throw error;
}

/** Inside a shell the address is the shell's: the range is remembered here, and entries open on the page of its own. */
function shellPlace(view) {
  let past = [];
  const place = {
    query: new URLSearchParams(), rest: '',
    go({ view: other, rest, query }) {
      if (other && other !== view.constructor.view) return location.assign(`${dashboardPath}${other}/${rest ?? ''}`);
      past = [...past, [place.query, place.rest]];
      if (query) place.query = new URLSearchParams(Object.entries(query).filter(([, value]) => value));
      place.rest = rest ?? place.rest;
      view.refresh();
    },
    back() {
      [place.query, place.rest] = past.pop() ?? [new URLSearchParams(), ''];
      view.refresh();
    },
  };
  return place;
}
