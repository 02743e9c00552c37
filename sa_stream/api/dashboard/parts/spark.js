// <sa-spark>: a line without axes. What it shows stands in numbers beside it, so readers of the screen pass over it.

import { svg } from '../lib/dom.js';
import { linePath } from '../lib/scale.js';

const WIDTH = 120;
const HEIGHT = 28;

export class Spark extends HTMLElement {
  /** Numbers in the order of time; null breaks the line. */
  set values(values) {
    const known = values.filter((value) => value !== null);
    const highest = Math.max(...known, 0) || 1;
    const step = WIDTH / Math.max(values.length - 1, 1);
    const points = values.map((value, place) =>
      value === null ? null : [place * step, HEIGHT - 2 - ((HEIGHT - 4) * value) / highest]);
    this.replaceChildren(
      svg('svg', { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: 'none', 'aria-hidden': 'true', class: 'sa-spark' },
        svg('path', { d: linePath(points), class: 'line ok' })),
    );
  }
}
