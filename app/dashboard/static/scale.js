// Axes: positions, round numbers to mark, and how to write them.

export function linear(low, high, from, to) {
  const span = high - low || 1;
  return (value) => from + ((value - low) / span) * (to - from);
}

export function logarithmic(low, high, from, to) {
  const inner = linear(Math.log10(low), Math.log10(high), from, to);
  return (value) => inner(Math.log10(value));
}

// Round steps of 1, 2 or 5 times a power of ten, about `count` of them.
export function ticks(low, high, count) {
  const rough = (high - low || 1) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= rough);
  const marks = [];
  for (let index = Math.ceil(low / step - 1e-9); index * step <= high + step * 1e-9; index += 1) marks.push(index * step);
  return marks;
}

export function logTicks(low, high) {
  const marks = [];
  const first = Math.floor(Math.log10(low));
  const last = Math.ceil(Math.log10(high));
  const factors = last - first <= 2 ? [1, 2, 5] : [1];
  const stride = Math.max(1, Math.ceil((last - first) / 6));
  for (let power = first; power <= last; power += stride) {
    for (const factor of factors) {
      const mark = factor * 10 ** power;
      if (mark >= low * 0.999 && mark <= high * 1.001) marks.push(mark);
    }
  }
  return marks;
}

// Significant digits that tell neighbouring marks apart.
export function digitsOf(marks, least = 3) {
  if (marks.length < 2) return least;
  const magnitude = (value) => Math.floor(Math.log10(value) + 1e-9);
  const largest = Math.max(...marks.map(Math.abs));
  const smallestStep = Math.min(...marks.slice(1).map((mark, index) => mark - marks[index]));
  return Math.max(least, magnitude(largest) - magnitude(smallestStep) + 1);
}

export function write(value, digits = 4) {
  if (value === null || value === undefined) return "–";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size < 1e-4 || size >= 1e7) return value.toExponential(digits - 2).replace(/\.?0+e/, "e");
  return value.toLocaleString("en", { maximumSignificantDigits: digits });
}
