// What is drawn over or instead of a colour, so that colour is never the only sign. Once in each page.

import { svg } from '../lib/dom.js';

const NAME = 'sa-patterns';

/** Puts the patterns into the page, if they are not there yet. */
export function ensurePatterns() {
  if (document.getElementById(NAME)) return;
  const stripes = (id, role, width) =>
    svg('pattern', { id, width, height: width, patternUnits: 'userSpaceOnUse', patternTransform: 'rotate(45)' },
      svg('path', { d: `M0 0v${width}`, class: role }));
  document.body.append(
    svg('svg', { id: NAME, width: 0, height: 0, 'aria-hidden': 'true', class: 'sa sa-patterns' },
      svg('defs', {},
        stripes('sa-hatch', 'sa-hatch-line', 6),
        stripes('sa-stripes', 'sa-stripe-line', 4),
        svg('pattern', { id: 'sa-dots', width: 4, height: 4, patternUnits: 'userSpaceOnUse' },
          svg('circle', { cx: 1.5, cy: 1.5, r: 0.9, class: 'sa-dot' })))),
  );
}
