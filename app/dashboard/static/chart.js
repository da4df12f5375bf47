// A line chart in SVG: mean lines, min-max bands, a ceiling, a readout for pointer and keyboard, a logarithmic axis.
import { digitsOf, linear, logarithmic, logTicks, ticks, write } from "./scale.js";

const SVG = "http://www.w3.org/2000/svg";
const HEIGHT = 210;
const MARGIN = { top: 14, right: 14, bottom: 24, left: 54 };

function shape(name, attributes, parent) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  parent?.append(element);
  return element;
}

function element(name, properties, parent) {
  const made = Object.assign(document.createElement(name), properties);
  parent?.append(made);
  return made;
}

export class LineChart {
  #figure;
  #series = [];
  #hidden = new Set();
  #log = false;
  #at = null;

  constructor(figure) {
    this.#figure = figure;
    const head = element("header", {}, figure);
    const words = element("div", {}, head);
    element("h3", { textContent: figure.dataset.title }, words);
    this.unit = figure.dataset.unit ?? "";
    this.now = element("span", { className: "unit" }, words);
    this.toggle = element("button", { type: "button", className: "quiet", textContent: "log" }, head);
    this.toggle.setAttribute("aria-pressed", "false");
    this.toggle.setAttribute("aria-label", `Logarithmic axis: ${figure.dataset.title}`);
    this.toggle.addEventListener("click", () => this.#toggleLog());
    this.svg = shape("svg", { tabindex: 0, role: "img" }, figure);
    this.legend = element("ul", { className: "legend" }, figure);
    this.readout = element("div", { className: "readout", hidden: true }, figure);
    this.announced = element("div", { className: "visually-hidden" }, figure);
    this.announced.setAttribute("aria-live", "polite");
    this.svg.addEventListener("pointermove", (event) => this.#point(event));
    this.svg.addEventListener("pointerleave", () => this.#leave());
    this.svg.addEventListener("blur", () => this.#leave());
    this.svg.addEventListener("keydown", (event) => this.#key(event));
    new ResizeObserver(() => this.draw()).observe(figure);
  }

  get limit() {
    const text = this.#figure.dataset.limit;
    return text === undefined ? null : Number(text);
  }

  set(series) {
    this.#series = series.map((one, index) => ({
      ...one,
      style: `s${(index % 5) + 1}`,
      step: one.step_min.map((first, row) => (first + one.step_max[row]) / 2),
    }));
    this.draw();
  }

  draw() {
    const width = this.#figure.clientWidth;
    if (!width) return;
    this.svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    this.svg.replaceChildren();
    const shown = this.#series.filter((one) => !this.#hidden.has(one.key) && one.step.length);
    this.#describe(shown);
    this.#drawLegend();
    if (!shown.length) {
      shape("text", { x: width / 2, y: HEIGHT / 2, "text-anchor": "middle" }, this.svg).textContent = "no readings yet";
      return;
    }
    this.#scales(shown, width);
    this.#axes(width);
    for (const one of shown) this.#line(one);
    this.marker = shape("g", {}, this.svg);
    this.#mark();
  }

  #scales(shown, width) {
    const steps = shown.flatMap((one) => [one.step_min[0], one.step_max.at(-1)]);
    const values = shown.flatMap((one) => [...one.min, ...one.max]).filter((value) => value !== null);
    if (this.limit !== null) values.push(this.limit);
    const positive = values.filter((value) => value > 0);
    const log = this.#log && positive.length > 0;
    let [low, high] = log ? extent(positive) : extent(values.length ? values : [0, 1]);
    if (log) [low, high] = low === high ? [low / 2, high * 2] : [low, high];
    else {
      const pad = (high - low || Math.abs(high) || 1) * 0.06;
      [low, high] = [low - pad, high + pad];
    }
    this.domain = { low, high, log, first: Math.min(...steps), last: Math.max(...steps) };
    const y = (log ? logarithmic : linear)(low, high, HEIGHT - MARGIN.bottom, MARGIN.top);
    this.x = linear(this.domain.first, this.domain.last, MARGIN.left, width - MARGIN.right);
    this.y = (value) => (value === null || (log && value <= 0) ? null : y(value));
  }

  #axes(width) {
    const { low, high, log, first, last } = this.domain;
    const right = width - MARGIN.right;
    const bottom = HEIGHT - MARGIN.bottom;
    const marks = log ? logTicks(low, high) : ticks(low, high, 4);
    const digits = log ? 3 : digitsOf(marks);
    for (const mark of marks) {
      const y = this.y(mark);
      shape("path", { class: "grid", d: `M${MARGIN.left} ${y}H${right}` }, this.svg);
      shape("text", { x: MARGIN.left - 8, y: y + 4, "text-anchor": "end" }, this.svg).textContent = write(mark, digits);
    }
    shape("path", { class: "axis", d: `M${MARGIN.left} ${bottom}H${right}` }, this.svg);
    const count = Math.max(2, Math.floor(width / 110));
    for (const mark of ticks(first, last, count).filter((step) => Number.isInteger(step))) {
      const anchor = this.x(mark) > right - 20 ? "end" : "middle";
      shape("text", { x: this.x(mark), y: HEIGHT - 7, "text-anchor": anchor }, this.svg).textContent = write(mark, 6);
    }
    if (this.limit !== null) {
      const y = this.y(this.limit);
      shape("path", { class: "limit", d: `M${MARGIN.left} ${y}H${right}` }, this.svg);
      const label = shape("text", { class: "limit-label", x: right, y: y + 14, "text-anchor": "end" }, this.svg);
      label.textContent = this.#figure.dataset.limitLabel;
    }
  }

  #line(one) {
    const group = shape("g", { class: one.style }, this.svg);
    const runs = [[]];
    one.step.forEach((step, row) => {
      if (this.y(one.mean[row]) === null) runs.push([]);
      else runs.at(-1).push(row);
      if (one.nonfinite[row]) {
        shape("text", { class: "gap", x: this.x(step), y: MARGIN.top, "text-anchor": "middle" }, group).textContent = "×";
      }
    });
    for (const rows of runs.filter((run) => run.length)) {
      if (!one.exact) {
        const floor = this.y(this.domain.low);
        const upper = rows.map((row) => `${this.x(one.step[row])} ${this.y(one.max[row]) ?? floor}`);
        const lower = rows.map((row) => `${this.x(one.step[row])} ${this.y(one.min[row]) ?? floor}`).reverse();
        shape("path", { class: "band", d: `M${upper.concat(lower).join("L")}Z` }, group);
      }
      const points = rows.map((row) => `${this.x(one.step[row])} ${this.y(one.mean[row])}`);
      shape("path", { class: "line", d: points.length > 1 ? `M${points.join("L")}` : `M${points[0]}h.01` }, group);
    }
  }

  #drawLegend() {
    this.legend.replaceChildren();
    if (this.#series.length < 2) return;
    for (const one of this.#series) {
      const item = element("li", { className: one.style }, this.legend);
      const button = element("button", { type: "button", className: "quiet key", textContent: one.key }, item);
      button.setAttribute("aria-pressed", String(!this.#hidden.has(one.key)));
      button.addEventListener("click", () => {
        if (!this.#hidden.delete(one.key)) this.#hidden.add(one.key);
        this.draw();
      });
    }
  }

  #describe(shown) {
    const parts = shown.map((one) => `${one.key} ${write(one.last.at(-1))} at step ${one.step_max.at(-1)}`);
    this.svg.setAttribute("aria-label", `${this.#figure.dataset.title}. ${parts.join("; ") || "No readings yet"}. Arrow keys read values.`);
    const latest = shown[0]?.last.at(-1);
    const now = latest === null ? "now not finite" : `now ${write(latest)} ${this.unit}`;
    this.now.textContent = shown.length ? now : this.unit;
  }

  #toggleLog() {
    this.#log = !this.#log;
    this.toggle.setAttribute("aria-pressed", String(this.#log));
    this.draw();
  }

  #point(event) {
    if (!this.x) return;
    const box = this.svg.getBoundingClientRect();
    const lead = this.#lead();
    if (!lead) return;
    const offset = event.clientX - box.left;
    const distance = (row) => Math.abs(this.x(lead.step[row]) - offset);
    this.#at = lead.step.reduce((best, _, row) => (distance(row) < distance(best) ? row : best), 0);
    this.#mark();
  }

  #key(event) {
    const lead = this.#lead();
    const moves = { ArrowLeft: -1, ArrowRight: 1, PageUp: 10, PageDown: -10, Home: -Infinity, End: Infinity };
    if (!lead || !(event.key in moves)) return;
    event.preventDefault();
    const from = this.#at ?? lead.step.length - 1;
    this.#at = Math.min(Math.max(from + moves[event.key], 0), lead.step.length - 1);
    this.#mark();
    this.announced.textContent = this.readout.innerText;
  }

  #leave() {
    this.#at = null;
    this.#mark();
  }

  #lead() {
    return this.#series.find((one) => !this.#hidden.has(one.key) && one.step.length);
  }

  #mark() {
    this.marker?.replaceChildren();
    const lead = this.#lead();
    this.readout.hidden = this.#at === null || !lead;
    if (this.readout.hidden) return;
    const row = Math.min(this.#at, lead.step.length - 1);
    const x = this.x(lead.step[row]);
    shape("path", { class: "cross", d: `M${x} ${MARGIN.top}V${HEIGHT - MARGIN.bottom}` }, this.marker);
    const [first, last] = [lead.step_min[row], lead.step_max[row]];
    this.readout.replaceChildren(
      element("b", { textContent: first === last ? `step ${write(first, 9)}` : `steps ${write(first, 9)}–${write(last, 9)}` }),
    );
    for (const one of this.#series.filter((each) => !this.#hidden.has(each.key) && each.step.length)) {
      this.#read(one, lead.step[row]);
    }
    const left = x > this.#figure.clientWidth / 2 ? x - this.readout.offsetWidth - 12 : x + 12;
    this.readout.style.left = `${Math.max(left, 0)}px`;
    this.readout.style.top = `${this.svg.offsetTop + MARGIN.top}px`;
  }

  #read(one, step) {
    const row = one.step.reduce((best, at, index) => (Math.abs(at - step) < Math.abs(one.step[best] - step) ? index : best), 0);
    const line = element("span", { className: one.style }, this.readout);
    element("i", { textContent: one.key }, line);
    const spread = one.exact ? "" : ` (${write(one.min[row], 3)} … ${write(one.max[row], 3)})`;
    const odd = one.nonfinite[row] ? `, ${one.nonfinite[row]} not finite` : "";
    element("span", { textContent: `${write(one.mean[row])}${spread}${odd}` }, line);
    const y = this.y(one.mean[row]);
    if (y !== null) shape("circle", { class: `dot ${one.style}`, cx: this.x(one.step[row]), cy: y, r: 3.5 }, this.marker);
  }
}

function extent(values) {
  return values.reduce(([low, high], value) => [Math.min(low, value), Math.max(high, value)], [Infinity, -Infinity]);
}
