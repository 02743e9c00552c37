// What this tab remembers: the key, the zone, the theme. The key stays in memory unless somebody ticks otherwise.

import { localZone } from './times.js';

const KEY = 'sa-key';
const ZONES = ['utc', 'labels', 'days'];
const listeners = new Set();
let key = stored('sessionStorage', KEY);
let zone = ZONES.includes(stored('localStorage', 'sa-zone')) ? stored('localStorage', 'sa-zone') : 'utc';
let theme = stored('localStorage', 'sa-theme');

/** store: its name, as a browser that keeps nothing throws where it is only named. */
function stored(store, name) {
  try {
    return window[store].getItem(name) ?? '';
  } catch {
    return ''; // then nothing was kept
  }
}

function keep(store, name, value) {
  try {
    if (value) window[store].setItem(name, value);
    else window[store].removeItem(name);
  } catch {
    // The same browser: memory has it.
  }
}

/** Takes the key out of the address (`#key=…`), and removes it there at once. */
export function takeKey() {
  const found = /^#key=(.+)$/.exec(location.hash);
  if (!found) return;
  history.replaceState(history.state, '', location.pathname + location.search);
  try {
    key = decodeURIComponent(found[1]);
  } catch {
    key = found[1]; // no escapes, but a per cent sign
  }
  tell();
}

export const session = {
  get key() {
    return key;
  },
  /** inTab: this tab remembers it until it is closed. */
  setKey(value, inTab = false) {
    key = value;
    keep('sessionStorage', KEY, inTab ? value : '');
    tell();
  },
  /** utc; labels: local times, days of UTC; days: both local. */
  get zone() {
    return zone;
  },
  setZone(value) {
    zone = value;
    keep('localStorage', 'sa-zone', value);
    tell();
  },
  /** Zone of labels. */
  get labels() {
    return zone === 'utc' ? 'UTC' : localZone();
  },
  /** Zone of days. */
  get days() {
    return zone === 'days' ? localZone() : 'UTC';
  },
  /** light, dark, or '' for what the system has. */
  get theme() {
    return theme;
  },
  setTheme(value) {
    theme = value;
    keep('localStorage', 'sa-theme', value);
    tell();
  },
  /** Calls back after each change, until the returned function is called. */
  listen(callback) {
    listeners.add(callback);
    return () => listeners.delete(callback);
  },
};

const tell = () => listeners.forEach((callback) => callback());
