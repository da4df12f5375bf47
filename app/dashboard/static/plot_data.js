// What a chart draws, and says, of its series. A series has for each row the first and last step (`from`, `to`), their
// middle `x`, `mean`, `low`, `high`, `nonfinite` readings; `exact` says that each row is a single reading.

// The columns of the chart: steps, then for each series low, high, raw and line; see Plot.#columns.
export function joined(series, smoothing, log) {
  const parts = series.filter((one) => one.x.length).length
    ? series.map((one) => [one.x, ...columns(one, smoothing, log)])
    : [[[0], [null], [null], [null], [null]]];
  return uPlot.join(parts);
}

function columns(one, smoothing, log) {
  const positive = (value) => (log && value !== null && value <= 0 ? null : value);
  const raw = one.mean.map(positive);
  if (!log) return [one.low, one.high, raw, smoothed(raw, smoothing)];
  // A band that reaches below what a logarithm has is drawn down to its least positive reading.
  const floor = Math.min(...one.mean.filter((value) => value > 0));
  return [one.low.map((value) => (value !== null && value <= 0 ? floor : value)), one.high.map(positive), raw, smoothed(raw, smoothing)];
}

// Exponential moving average of weight `share` on the past, corrected for its start; gaps stay gaps.
export function smoothed(values, share) {
  if (!share) return values;
  let [sum, weight] = [0, 0];
  return values.map((value) => {
    if (value === null) return null;
    sum = sum * share + value * (1 - share);
    weight = weight * share + (1 - share);
    return sum / weight;
  });
}

// The values at a step, or the last ones, in words.
export function tables(series, step) {
  const rows = series.map((one) => nearest(one, step));
  const at = rows.findIndex((row) => row >= 0);
  const words = step === null || at < 0 ? "" : steps(series[at], rows[at]);
  return { step: words, values: series.map((one, n) => (rows[n] < 0 ? "–" : value(one, rows[n]))) };
}

export function steps(one, row) {
  const [from, to] = [one.from[row], one.to[row]].map((step) => write(step, 9));
  return from === to ? `step ${from}` : `steps ${from}–${to}`;
}

function nearest(one, step) {
  if (!one.x.length) return -1;
  if (step === null || step === undefined) return one.x.length - 1;
  return one.x.reduce((best, x, row) => (Math.abs(x - step) < Math.abs(one.x[best] - step) ? row : best), 0);
}

function value(one, row) {
  const spread = one.exact || one.low[row] === null ? "" : ` (${write(one.low[row], 3)} … ${write(one.high[row], 3)})`;
  const odd = one.nonfinite[row] ? ` ${one.nonfinite[row]} not finite` : "";
  return `${write(one.mean[row])}${spread}${odd}`;
}

export function csv(series) {
  const rows = series.flatMap((one) =>
    one.x.map((_, row) => [quoted(one.label), one.from[row], one.to[row], one.mean[row], one.low[row], one.high[row], one.nonfinite[row]]),
  );
  return [["series", "first_step", "last_step", "mean", "low", "high", "nonfinite"], ...rows].map((row) => row.map((cell) => cell ?? "").join(",")).join("\r\n") + "\r\n";
}

function quoted(text) {
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

export function write(value, digits = 4) {
  if (value === null || value === undefined) return "–";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size < 1e-4 || size >= 1e7) return value.toExponential(digits - 2).replace(/\.?0+e/, "e");
  return value.toLocaleString("en", { maximumSignificantDigits: digits });
}
