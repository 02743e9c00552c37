// <sa-dashboard>: the page of its own. The address says which view, what it looks at, and nothing else.

import { dashboardPath } from '../lib/api.js';
import { button, el } from '../lib/dom.js';
import { session } from '../lib/session.js';
import { localZone } from '../lib/times.js';
import { VIEWS } from '../views/all.js';
import { dressed } from './dress.js';
import { helpDialog } from './help.js';

const THEMES = { '': 'as the system', light: 'light', dark: 'dark' };

export class Frame extends HTMLElement {
  #view = null;
  #views = new Map(); // those that were shown: they come back with the values that they had
  #past = 0; // steps that can be taken back without leaving the page

  connectedCallback() {
    this.classList.add('sa');
    this.help = helpDialog();
    this.links = Object.fromEntries(VIEWS.map((view) => [view.view, el('a', { href: this.#address(view.view), data: { view: view.view } }, view.navLabel)]));
    this.main = el('main', { id: 'sa-main', tabindex: -1 });
    this.replaceChildren(
      el('a', { class: 'skip', href: '#sa-main', onclick: (event) => (event.preventDefault(), this.main.focus()) }, 'Skip to the numbers'),
      el('header', {}, el('strong', {}, 'sa-stream'), el('nav', { 'aria-label': 'Views' }, ...Object.values(this.links)), this.#tools()),
      this.main, this.help);
    this.addEventListener('click', (event) => this.#follow(event));
    addEventListener('popstate', () => this.#show());
    document.addEventListener('keydown', (event) => this.#key(event));
    session.listen(() => dressed(this));
    dressed(this);
    this.#show();
  }

  #tools() {
    const zone = el('select', { 'aria-label': 'Time zone', onchange: () => session.setZone(zone.value) },
      el('option', { value: 'utc' }, 'UTC'), el('option', { value: 'labels' }, `${localZone()}, days of UTC`),
      el('option', { value: 'days' }, `${localZone()}, local days`));
    zone.value = session.zone;
    const theme = button('◐', () => {
      const names = Object.keys(THEMES);
      session.setTheme(names[(names.indexOf(session.theme) + 1) % names.length]);
      theme.title = `Theme: ${THEMES[session.theme]}`;
      theme.setAttribute('aria-label', theme.title);
    }, { title: `Theme: ${THEMES[session.theme] ?? ''}`, 'aria-label': `Theme: ${THEMES[session.theme] ?? ''}`, class: 'quiet' });
    const keys = button('?', () => this.help.showModal(), { 'aria-label': 'Keys', class: 'quiet' });
    return el('div', { class: 'tools' }, zone, theme, keys);
  }

  #address(view, rest = '', query = {}) {
    const parameters = new URLSearchParams(Object.entries(query).filter(([, value]) => value));
    const path = dashboardPath + [view, ...rest.split('/').filter(Boolean).map(encodeURIComponent)].join('/');
    return parameters.size ? `${path}?${parameters}` : path;
  }

  /** What the address says: [view, rest]. */
  #parts() {
    const [view, ...rest] = location.pathname.slice(dashboardPath.length).split('/').filter(Boolean).map(decoded);
    return [VIEWS.find((each) => each.view === view) ?? VIEWS[0], rest.join('/')];
  }

  #show() {
    const [kind, rest] = this.#parts();
    const query = new URLSearchParams(location.search);
    document.title = `${kind.navLabel} · sa-stream`;
    for (const [name, link] of Object.entries(this.links)) {
      link.toggleAttribute('aria-current', false);
      if (name === kind.view) link.setAttribute('aria-current', 'page');
      const range = Object.fromEntries([...query].filter(([key]) => ['range', 'from', 'to'].includes(key)));
      link.href = this.#address(name, '', range);
    }
    if (this.#view?.constructor !== kind) {
      this.#view = this.#views.get(kind) ?? document.createElement(`sa-${kind.view}`);
      this.#views.set(kind, this.#view);
      this.#place(query, rest);
      document.documentElement.dataset.ready = 'false';
      this.main.replaceChildren(this.#view);
    } else {
      this.#place(query, rest);
      this.#view.refresh();
    }
  }

  #place(query, rest) {
    const view = this.#view.constructor.view;
    this.#view.place = {
      query, rest,
      go: (to) => this.#go(this.#address(to.view ?? view, to.rest ?? (to.view ? '' : rest), to.query ?? (to.view ? {} : Object.fromEntries(query)))),
      back: () => (this.#past ? history.back() : this.#go(this.#address(view, rest))),
    };
  }

  #go(address) {
    this.#past += 1;
    history.pushState(null, '', address);
    this.#show();
  }

  /** Links inside the dashboard load nothing anew. */
  #follow(event) {
    const link = event.target.closest?.('a[href]');
    if (!link || event.defaultPrevented || event.button || event.ctrlKey || event.metaKey || event.shiftKey || link.download) return;
    if (link.origin !== location.origin || !link.pathname.startsWith(dashboardPath) || link.hash || link.target) return;
    event.preventDefault();
    this.#go(link.pathname + link.search);
  }

  #key(event) {
    if (event.target.closest?.('input, select, textarea, dialog') || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === '?') this.help.showModal();
    const number = Number(event.key);
    if (number >= 1 && number <= VIEWS.length) this.links[VIEWS[number - 1].view].click();
  }
}

function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part; // no escapes, but a per cent sign
  }
}
