// Style and theme, wherever an element stands: its style sheet once in the page, and light or dark.

import { session } from '../lib/session.js';

const sheet = new URL('../style.css', import.meta.url).href;

/** Sees to it that the page has our style sheet, and that a part has the theme that it should have. */
export function dressed(element) {
  if (![...document.styleSheets].some((each) => each.href === sheet) && !document.querySelector(`link[href="${sheet}"]`)) {
    const link = document.createElement('link');
    Object.assign(link, { rel: 'stylesheet', href: sheet });
    document.head.append(link);
  }
  const theme = session.theme || themeOfShell(element);
  for (const each of [element, document.getElementById('sa-patterns')]) {
    if (!each) continue;
    if (theme) each.dataset.theme = theme;
    else delete each.dataset.theme;
  }
}

/** What suits the background that an admin shell has chosen; '' without one. */
function themeOfShell(element) {
  const background = getComputedStyle(element).getPropertyValue('--admin-bg').trim();
  if (!background) return '';
  const context = document.createElement('canvas').getContext('2d');
  context.fillStyle = background;
  context.fillRect(0, 0, 1, 1);
  const [red, green, blue] = context.getImageData(0, 0, 1, 1).data;
  return 0.299 * red + 0.587 * green + 0.114 * blue < 128 ? 'dark' : 'light';
}
