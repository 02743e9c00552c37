// From values and times to places on paper. Pure.

import { DAY, HOUR, MINUTE, clock, day, offset, weekday } from './times.js';

const STEPS = [5 * MINUTE, 10 * MINUTE, 30 * MINUTE, HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR, DAY, 2 * DAY, 7 * DAY, 14 * DAY];

/** Round numbers from 0 to above the highest value, about as many as asked for. */
export function ticks(highest, wanted = 4) {
  if (!(highest > 0)) return [0, 1];
  const rough = highest / wanted;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([1, 2, 5, 10].find((each) => each * power >= rough) ?? 10);
  const count = Math.ceil(highest / step - 1e-9);
  return Array.from({ length: count + 1 }, (_, place) => place * step);
}

/** Labels of a time axis: [{place, text}], at round times of the zone, not more than fit. */
export function timeLabels(starts, zone, most) {
  const length = starts.at(-1) - starts[0];
  if (starts.length <= 1) return starts.map((ms, place) => ({ place, text: clock(ms, zone) }));
  const step = STEPS.find((each) => length / each <= most) ?? length / most;
  const width = length / (starts.length - 1);
  const words = length <= 1.5 * DAY ? clock : length <= 8 * DAY ? weekday : day;
  const labels = [];
  let last = null;
  starts.forEach((ms, place) => {
    const tick = Math.floor((ms + offset(ms, zone)) / Math.max(step, width));
    const first = last === null ? (ms + offset(ms, zone)) % step < width : tick !== last;
    if (first) labels.push({ place, text: words(ms, zone) });
    last = tick;
  });
  return labels.filter((label, place) => place === 0 || label.text !== labels[place - 1].text);
}

/** SVG path of bars, each {x, y, width, height}. */
export const barPath = (bars) =>
  bars.map(({ x, y, width, height }) => `M${x.toFixed(1)} ${y.toFixed(1)}h${width.toFixed(1)}v${height.toFixed(1)}h${(-width).toFixed(1)}z`).join('');

/** SVG path of a line through points, broken where a value is null; lone points become short strokes. */
export function linePath(points) {
  let path = '';
  points.forEach((point, place) => {
    if (point === null) return;
    const [x, y] = point.map((value) => value.toFixed(1));
    const alone = (points[place - 1] ?? null) === null;
    path += `${alone ? 'M' : 'L'}${x} ${y}`;
    if (alone && (points[place + 1] ?? null) === null) path += 'h3';
  });
  return path;
}
