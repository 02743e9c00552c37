// The drawing of a chart: what is shown, and how wide the paper is, come in; an SVG goes out. It knows no events.

import { svg } from '../lib/dom.js';
import { barPath, linePath, ticks, timeLabels } from '../lib/scale.js';

export const HEIGHT = 220;
const TOP = 10;
const BOTTOM = 24;
const LABEL_PX = 72;

/** Where things are: {left, width, band(place) -> [x, width], placeAt(x), y(value), marks}. */
export function geometry(chart, paper) {
  const marks = ticks(highest(chart));
  const left = Math.min(72, 16 + 7 * Math.max(...marks.map((mark) => chart.format(mark).length)));
  const right = chart.kind === 'lines' ? 36 : 8;
  const width = Math.max(paper - left - right, 40);
  const band = width / chart.starts.length;
  const gap = band > 6 ? 1 : 0;
  return {
    left, width, right, marks,
    band: (place) => [left + place * band + gap / 2, Math.max(band - gap, 0.5)],
    placeAt: (x) => Math.min(Math.max(Math.floor((x - left) / band), 0), chart.starts.length - 1),
    y: (value) => TOP + (HEIGHT - TOP - BOTTOM) * (1 - value / marks.at(-1)),
  };
}

function highest(chart) {
  const at = (place) => chart.series.map((each) => each.values[place] ?? 0);
  const sums = chart.starts.map((_, place) =>
    chart.kind === 'stack' ? at(place).reduce((total, value) => total + value, 0) : Math.max(...at(place), 0));
  return Math.max(...sums, 0);
}

/** The picture. Its layers, from below: lines of the scale, slots, numbers, and an empty group for the cursor. */
export function plot(chart, paper, zone) {
  const geo = geometry(chart, paper);
  const draw = chart.kind === 'stack' ? stack : lines;
  return svg('svg', { width: paper, height: HEIGHT, 'aria-hidden': 'true', class: 'sa-plot' },
    ...grid(chart, geo), ...slots(chart, geo), ...draw(chart, geo), ...axis(chart, geo, zone), svg('g', { class: 'cursor' }));
}

const grid = (chart, geo) => geo.marks.flatMap((mark) => [
  svg('path', { d: `M${geo.left} ${geo.y(mark)}h${geo.width}`, class: mark ? 'grid' : 'base' }),
  svg('text', { x: geo.left - 6, y: geo.y(mark) + 4, class: 'label end' }, chart.format(mark)),
]);

function axis(chart, geo, zone) {
  const most = Math.max(2, Math.floor(geo.width / LABEL_PX));
  return timeLabels(chart.starts, zone, most).map(({ place, text }) => {
    const [x, width] = geo.band(place);
    const last = x + 40 > geo.left + geo.width + geo.right; // it would leave the paper
    return svg('text', { x: last ? x + width : x, y: HEIGHT - 6, class: last ? 'label end' : 'label' }, text);
  });
}

/** Missing slots are hatched, zeros get a short line on the ground, those with late records a mark. */
function slots(chart, geo) {
  const full = (place) => {
    const [x, width] = geo.band(place);
    return { x, y: TOP, width, height: HEIGHT - TOP - BOTTOM };
  };
  const places = (state) => chart.starts.map((_, place) => place).filter((place) => chart.states[place] === state);
  const missing = places('missing').map(full);
  const zeros = places('zero').map((place) => {
    const [x, width] = geo.band(place);
    return { x: x + width / 4, y: geo.y(0) - 2, width: width / 2, height: 2 };
  });
  const late = chart.starts.map((_, place) => place).filter((place) => chart.late?.[place] > 0);
  return [
    missing.length && svg('path', { d: barPath(missing), fill: 'url(#sa-hatch)', class: 'missing' }),
    zeros.length && svg('path', { d: barPath(zeros), class: 'zero' }),
    late.length && svg('path', { d: late.map((place) => `M${geo.band(place)[0]} 2h${geo.band(place)[1]}`).join(''), class: 'late' }),
  ].filter(Boolean);
}

function stack(chart, geo) {
  const below = chart.starts.map(() => 0);
  return chart.series.flatMap((each) => {
    const bars = { partial: [], final: [] };
    chart.starts.forEach((_, place) => {
      const value = each.values[place];
      if (!value) return;
      const [x, width] = geo.band(place);
      const from = geo.y(below[place]);
      below[place] += value;
      const height = from - geo.y(below[place]);
      const parted = height > 3 ? 1 : 0; // neighbours in a stack are parted by the background
      bars[chart.states[place] === 'partial' ? 'partial' : 'final'].push({ x, y: from - height, width, height: height - parted });
    });
    return Object.entries(bars).filter(([, found]) => found.length).flatMap(([state, found]) => [
      svg('path', { d: barPath(found), class: `bar ${each.role} ${state}` }),
      each.pattern && svg('path', { d: barPath(found), fill: `url(#${each.pattern})`, class: state }),
    ]).filter(Boolean);
  });
}

function lines(chart, geo) {
  const ends = [];
  const drawn = chart.series.flatMap((each, order) => {
    const middle = (place) => geo.band(place)[0] + geo.band(place)[1] / 2;
    const points = each.values.map((value, place) =>
      value === null || value === undefined ? null : [middle(place), geo.y(value)]);
    const last = points.findLast((point) => point !== null);
    const states = chart.states;
    const settled = points.map((point, place) => (states[place] === 'partial' ? null : point));
    // What is partial is drawn lighter, from the last complete point on; what is complete never is.
    const open = points.map((point, place) =>
      states[place] === 'partial' || states[place + 1] === 'partial' ? point : null);
    if (last) ends.push({ x: last[0] + 6, y: last[1] + 4, text: each.label });
    return [
      open.some((point) => point !== null) && svg('path', { d: linePath(open), class: `line ${each.role} partial dash${order}` }),
      svg('path', { d: linePath(settled), class: `line ${each.role} dash${order}` }),
    ].filter(Boolean);
  });
  return [...drawn, ...names(ends)];
}

/** Names at the ends of lines, from below, none over another. */
function names(ends) {
  let lowest = Infinity;
  return ends.toSorted((one, other) => other.y - one.y).map(({ x, y, text }) => {
    lowest = Math.min(y, lowest - 12);
    return svg('text', { x, y: lowest, class: 'label' }, text);
  });
}
