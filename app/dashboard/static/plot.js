// A chart with the library uPlot: mean lines over bands, zoom by dragging, an overview to brush in, smoothing, a
// logarithmic axis, values for pointer and keyboard. It asks for more detail where a reader looks closer.
import { joined, tables } from "./plot_data.js";
import { Theme, element } from "./plot_look.js";
import { options, overview } from "./plot_options.js";
import { Tools } from "./plot_tools.js";

const HEIGHT = 220;
const OVERVIEW = 46;
const WAIT_MS = 150;

export class Plot {
  series = [];
  hidden = new Set();
  #shown = [];
  #window = null;
  #timer = null;
  #asked = 0;
  #form = "";

  // `load(from, to)` gives the series of some steps, in detail.
  constructor(figure, load) {
    this.figure = figure;
    this.load = load;
    this.title = figure.dataset.title;
    this.smoothing = 0;
    this.log = false;
    figure.querySelector("[data-fallback]")?.remove();
    figure.querySelector("header")?.remove();
    const head = element("header", {});
    figure.prepend(head);
    const words = element("div", {}, head);
    element("h3", { textContent: this.title }, words);
    this.now = element("span", { className: "unit", textContent: figure.dataset.unit }, words);
    this.place = element("div", { className: "plot", tabIndex: 0, role: "img" });
    this.overview = element("div", { className: "overview" });
    this.legend = element("ul", { className: "legend" });
    this.announced = element("div", { className: "visually-hidden" });
    this.announced.setAttribute("aria-live", "polite");
    head.after(this.place, this.overview, this.legend, this.announced);
    this.tools = new Tools(this, head);
    this.theme = new Theme(figure, () => this.#build());
    this.place.addEventListener("keydown", (event) => this.#key(event));
    this.place.addEventListener("blur", () => this.#read(null));
    new ResizeObserver(() => this.#fit()).observe(figure);
  }

  // Levels to draw a line at: values and labels, each apart by a bar. One that is not known has an empty value.
  get limits() {
    const { limit = "", limitLabel = "" } = this.figure.dataset;
    const labels = limitLabel.split("|");
    const levels = limit.split("|").map((text, index) => ({ text, value: Number(text), label: labels[index] ?? "" }));
    return levels.filter(({ text }) => text !== "");
  }

  get shown() {
    return this.#shown;
  }

  get whole() {
    const ends = this.series.flatMap((one) => (one.x.length ? [one.from[0], one.to.at(-1)] : []));
    return ends.length ? [Math.min(...ends), Math.max(...ends)] : [0, 1];
  }

  get range() {
    return this.#window ?? this.whole;
  }

  // The series over the whole run; a reader who has zoomed in goes on looking at the same steps.
  set(series) {
    this.series = series;
    if (this.#window) this.#ask();
    else this.#shown = series;
    this.#update();
  }

  zoom(from, to) {
    const [first, last] = this.whole;
    const [low, high] = [Math.max(Math.min(from, to), first), Math.min(Math.max(from, to), last)];
    this.#window = low < high && (low > first || high < last) ? [low, high] : null;
    if (!this.#window) this.#shown = this.series;
    this.#build();
    if (this.#window) this.#ask();
  }

  redraw() {
    this.#build();
  }

  #ask() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(async () => {
      const asked = ++this.#asked;
      const [from, to] = this.#window ?? [];
      if (from === undefined) return;
      const series = await this.load(Math.floor(from), Math.ceil(to));
      // An answer that comes late is about other steps than those looked at now.
      if (asked !== this.#asked || this.#window?.[0] !== from || this.#window?.[1] !== to || !series) return;
      this.#shown = series;
      this.#update();
    }, WAIT_MS);
  }

  // New readings of the same series leave the charts, and where the reader points, as they are.
  #update() {
    if (!this.main || this.#form !== this.#formOf()) return this.#build();
    this.main.setData(joined(this.#shown, this.smoothing, this.log));
    this.brush.setData(joined(this.series, this.smoothing, this.log));
    this.#markWindow();
    this.say(this.main.cursor.idx);
    return this.tools.follow();
  }

  #formOf() {
    const forms = [this.#shown, this.series].map((series) => series.map((one) => [one.label, one.style, one.exact, one.x.length > 1]));
    return JSON.stringify(forms);
  }

  #build() {
    const at = this.main?.cursor.idx ?? null;
    this.main?.destroy();
    this.brush?.destroy();
    [this.main, this.brush] = [null, null];
    this.#form = this.#formOf();
    const width = this.place.clientWidth;
    this.say(null);
    this.tools.follow();
    if (!width || !this.series.some((one) => one.x.length)) {
      this.place.textContent = "no readings yet";
      return;
    }
    this.place.textContent = "";
    this.main = new uPlot(options(this, width, HEIGHT), joined(this.#shown, this.smoothing, this.log), this.place);
    this.brush = new uPlot(overview(this, width, OVERVIEW), joined(this.series, this.smoothing, this.log), this.overview);
    this.#markWindow();
    if (at !== null && document.activeElement === this.place) this.#read(Math.min(at, this.main.data[0].length - 1));
  }

  #fit() {
    const width = this.place.clientWidth;
    if (!this.main) this.#build();
    else if (Math.abs(this.main.width - width) > 1) {
      this.main.setSize({ width, height: HEIGHT });
      this.brush.setSize({ width, height: OVERVIEW });
      this.#markWindow();
    }
  }

  #markWindow() {
    if (!this.#window) return;
    const [left, right] = this.#window.map((step) => this.brush.valToPos(step, "x"));
    this.brush.setSelect({ left, width: right - left, top: 0, height: this.brush.over.clientHeight }, false);
  }

  // The legend with the values at a row of the chart; the last ones where there is none.
  say(index) {
    const step = index === null || index === undefined ? null : this.main?.data[0][index];
    const words = tables(this.#shown, step);
    this.now.textContent = [words.step, this.figure.dataset.unit].filter(Boolean).join(" · ");
    if (this.legend.dataset.form !== this.#form) this.#buildLegend();
    this.legend.querySelectorAll(".value").forEach((place, row) => { place.textContent = words.values[row]; });
    const said = this.#shown.map((one, row) => `${one.label} ${words.values[row]}`).join("; ");
    this.place.setAttribute("aria-label", `${this.title}, ${words.step || "last readings"}: ${said || "no readings yet"}. Arrow keys read values, plus and minus zoom, Escape shows all.`);
    return `${words.step}: ${said}`;
  }

  #buildLegend() {
    this.legend.dataset.form = this.#form;
    this.legend.replaceChildren();
    for (const one of this.#shown) {
      const item = element("li", { className: this.theme.className(one.style) }, this.legend);
      const button = element("button", { type: "button", className: "quiet key", textContent: one.label }, item);
      button.setAttribute("aria-pressed", String(!this.hidden.has(one.label)));
      button.addEventListener("click", () => this.#toggle(one.label, button));
      element("span", { className: "value" }, item);
    }
  }

  #toggle(label, button) {
    if (!this.hidden.delete(label)) this.hidden.add(label);
    button.setAttribute("aria-pressed", String(!this.hidden.has(label)));
    this.#build();
  }

  #key(event) {
    const steps = this.main?.data[0];
    if (!steps) return;
    const moves = { ArrowLeft: -1, ArrowRight: 1, PageUp: 10, PageDown: -10, Home: -Infinity, End: Infinity };
    const factors = { "+": 0.5, "-": 2 };
    if (event.key in moves) {
      const inside = [...steps.keys()].filter((n) => steps[n] >= this.range[0] && steps[n] <= this.range[1]);
      const from = this.main.cursor.idx ?? inside.at(-1);
      this.#read(Math.min(Math.max(from + moves[event.key], inside[0]), inside.at(-1)));
    } else if (event.key in factors) {
      const [low, high] = this.range;
      const middle = steps[this.main.cursor.idx] ?? (low + high) / 2;
      this.zoom(...[low, high].map((end) => middle + (end - middle) * factors[event.key]));
    } else if (event.key === "Escape") this.zoom(...this.whole);
    else return;
    event.preventDefault();
  }

  #read(index) {
    if (!this.main) return;
    if (index === null) this.main.setCursor({ left: -10, top: -10 });
    else this.main.setCursor({ left: this.main.valToPos(this.main.data[0][index], "x"), top: HEIGHT / 3 });
    if (index !== null) this.announced.textContent = this.say(index);
  }
}
