// What can be done with a chart besides looking: range, smoothing, axis, export, and its numbers as a table.
import { csv, steps, write } from "./plot_data.js";
import { element } from "./plot_look.js";

const SPACE = 14;
const LINE = 18;

export class Tools {
  #plot;

  constructor(plot, head) {
    this.#plot = plot;
    this.log = element("button", { type: "button", className: "quiet", textContent: "log" }, head);
    this.log.setAttribute("aria-pressed", "false");
    this.log.setAttribute("aria-label", `Logarithmic axis: ${plot.title}`);
    this.log.addEventListener("click", () => this.#toggleLog());
    const more = element("details", { className: "tools" }, plot.figure);
    element("summary", { textContent: "Range, smoothing, export" }, more).append(hidden(` of ${plot.title}`));
    const row = element("div", { className: "tool-row" }, more);
    this.#range(row);
    this.#smoothing(row);
    for (const [word, act] of [["PNG", () => this.#png()], ["CSV", () => this.#csv()]]) {
      element("button", { type: "button", textContent: word }, row).addEventListener("click", act);
    }
    this.table = element("details", { className: "tools" }, plot.figure);
    element("summary", { textContent: "Numbers" }, this.table).append(hidden(` of ${plot.title} as a table`));
    this.table.addEventListener("toggle", () => this.#fill());
  }

  // After each drawing: the fields and the table say what is shown.
  follow() {
    const ends = this.#plot.range.map((step) => Math.round(step));
    // What somebody is typing stays.
    [this.from, this.to].forEach((input, n) => { if (input !== document.activeElement) input.value = ends[n]; });
    this.#fill();
  }

  #range(row) {
    const field = (word) => {
      const label = element("label", { textContent: word }, row);
      return element("input", { type: "number", min: 0, step: 1 }, label);
    };
    [this.from, this.to] = [field("From step"), field("to step")];
    for (const input of [this.from, this.to]) {
      input.addEventListener("change", () => this.#plot.zoom(Number(this.from.value), Number(this.to.value)));
    }
    const all = element("button", { type: "button", textContent: "Whole run" }, row);
    all.addEventListener("click", () => this.#plot.zoom(...this.#plot.whole));
  }

  #smoothing(row) {
    const label = element("label", { textContent: "Smoothing" }, row);
    const slider = element("input", { type: "range", min: 0, max: 0.99, step: 0.01, value: 0 }, label);
    slider.addEventListener("input", () => {
      this.#plot.smoothing = Number(slider.value);
      this.#plot.redraw();
    });
  }

  #toggleLog() {
    this.#plot.log = !this.#plot.log;
    this.log.setAttribute("aria-pressed", String(this.#plot.log));
    this.#plot.redraw();
  }

  #fill() {
    const scrolled = this.table.querySelector(".table-scroll")?.scrollTop ?? 0;
    this.table.querySelector(".table-scroll")?.remove();
    if (!this.table.open) return;
    const place = element("div", { className: "table-scroll tall", tabIndex: 0, role: "group", ariaLabel: this.#plot.title }, this.table);
    const table = element("table", { className: "compact" }, place);
    const heads = element("tr", {}, element("thead", {}, table));
    for (const word of ["Series", "Steps", "Mean", "Least", "Most"]) element("th", { scope: "col", textContent: word }, heads);
    const body = element("tbody", {}, table);
    for (const one of this.#plot.shown) {
      one.x.forEach((_, row) => {
        const cells = [one.label, steps(one, row).replace(/^steps? /, ""), ...[one.mean, one.low, one.high].map((column) => write(column[row], 6))];
        const line = element("tr", {}, body);
        for (const cell of cells) element("td", { textContent: cell }, line);
      });
    }
    place.scrollTop = scrolled;
  }

  #csv() {
    save(new Blob([csv(this.#plot.shown)], { type: "text/csv" }), `${this.#plot.title}.csv`);
  }

  // The chart with its title and legend, on the ground that it has on the page.
  #png() {
    const plot = this.#plot;
    if (!plot.main) return;
    const source = plot.main.ctx.canvas;
    const scale = devicePixelRatio;
    const height = source.height + (LINE * (plot.shown.length + 2)) * scale;
    const canvas = element("canvas", { width: source.width, height });
    const pen = canvas.getContext("2d");
    pen.fillStyle = plot.theme.named("surface");
    pen.fillRect(0, 0, canvas.width, canvas.height);
    pen.font = `bold ${13 * scale}px sans-serif`;
    pen.fillStyle = plot.theme.named("ink");
    pen.fillText([plot.title, plot.figure.dataset.unit].filter(Boolean).join(", "), SPACE * scale, LINE * scale);
    pen.drawImage(source, 0, 1.5 * LINE * scale);
    pen.font = `${11 * scale}px sans-serif`;
    plot.shown.forEach((one, row) => {
      const y = source.height + (row + 2) * LINE * scale;
      pen.fillStyle = plot.theme.colour(one.style);
      pen.fillRect(SPACE * scale, y - 5 * scale, SPACE * scale, 3 * scale);
      pen.fillStyle = plot.theme.named("ink");
      pen.fillText(one.label, 2.5 * SPACE * scale, y);
    });
    canvas.toBlob((blob) => save(blob, `${plot.title}.png`));
  }
}

function hidden(textContent) {
  return element("span", { className: "visually-hidden", textContent });
}

function save(blob, name) {
  const link = element("a", { href: URL.createObjectURL(blob), download: name.replace(/[^\w.() -]/g, "_") });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
