// How the library draws a Plot and the overview below it.
import { line } from "./plot_look.js";

const COLUMNS = 4;
const DRAGGED = 4;

export function options(plot, width, height) {
  return {
    ...shared(plot, width, height),
    padding: [8, 24, 0, 0],
    scales: {
      x: { time: false, range: () => plot.range },
      y: { distr: plot.log ? 3 : 1, range: (_, low, high) => extent(plot, low, high, ...plot.limits.map(({ value }) => value)) },
    },
    axes: plot.theme.axes(plot.figure.clientWidth),
    series: [{}, ...plot.shown.flatMap((one) => columns(plot, one, 1.75))],
    bands: plot.shown.map((one, n) => ({
      series: [n * COLUMNS + 2, n * COLUMNS + 1],
      fill: plot.theme.colour(one.style, 0.16),
    })),
    hooks: {
      setSelect: [(drawn) => dragged(plot, drawn)],
      setCursor: [(drawn) => plot.say(drawn.cursor.idx)],
      draw: [(drawn) => marks(plot, drawn)],
    },
  };
}

export function overview(plot, width, height) {
  const side = { ...plot.theme.axes(width)[1], values: () => [], grid: { show: false }, ticks: { show: false } };
  return {
    ...shared(plot, width, height),
    padding: [2, 24, 2, 0],
    scales: { x: { time: false }, y: { distr: plot.log ? 3 : 1, range: (_, low, high) => extent(plot, low, high, null) } },
    axes: [{ show: false }, side],
    series: [{}, ...plot.series.flatMap((one) => columns(plot, one, 1))],
    hooks: { setSelect: [(drawn) => dragged(plot, drawn)] },
  };
}

function shared(plot, width, height) {
  const whole = () => plot.zoom(...plot.whole);
  return {
    width,
    height,
    legend: { show: false },
    cursor: { y: false, drag: { x: true, y: false, setScale: false }, bind: { dblclick: () => whole } },
  };
}

// Lower and upper edge of the band, readings behind a smoothed line, and the line.
function columns(plot, one, width) {
  const show = !plot.hidden.has(one.label);
  const edge = { show: show && !one.exact, width: 0, points: { show: false } };
  const raw = { show: show && plot.smoothing > 0 && one.exact, width: 1, points: { show: false }, stroke: plot.theme.colour(one.style, 0.3) };
  return [edge, edge, raw, { ...line(one, plot.theme.colour(one.style), width), show, label: one.label }];
}

function extent(plot, ...values) {
  const ends = values.filter((value) => value !== null && Number.isFinite(value) && (!plot.log || value > 0));
  if (!ends.length) return plot.log ? [0.1, 1] : [0, 1];
  const [least, most] = [Math.min(...ends), Math.max(...ends)];
  if (plot.log) return uPlot.rangeLog(least, most === least ? most * 2 : most, 10, false);
  const room = (most - least || Math.abs(most) || 1) * 0.06;
  return [least - room, most + room];
}

function dragged(plot, drawn) {
  const { left, width } = drawn.select;
  if (width < DRAGGED) return;
  const [from, to] = [left, left + width].map((place) => drawn.posToVal(place, "x"));
  plot.zoom(from, to);
}

function marks(plot, drawn) {
  // Labels take turns at the two ends, where lines may lie close to each other.
  plot.limits.forEach(({ value, label }, index) => plot.theme.limit(drawn, value, label, index % 2 ? "left" : "right"));
  for (const one of plot.shown.filter((each) => !plot.hidden.has(each.label))) {
    one.nonfinite.forEach((count, row) => count && plot.theme.cross(drawn, one.x[row]));
  }
}
