// The charts of a job: which metrics go where stands in the page, their readings come from the API.
import { Plot } from "./plot.js";
import { read } from "./reading.js";

const POINTS = 500;
const KEYS = 16;

export class Curves {
  #url;
  #plots;
  #names = [];

  constructor(job, root) {
    this.#url = `/v1/jobs/${job}`;
    this.#plots = [...root.querySelectorAll(".chart")].map((figure) => ({
      figure,
      plot: new Plot(figure, async (from, to) => this.#series(figure, await this.#query(this.#keys(figure), { step_from: from, step_to: to }))),
    }));
  }

  async refresh() {
    try {
      // What the page names is asked for at once; what it does not know of, such as another part of a loss, after that.
      const named = [...new Set(this.#plots.flatMap(({ figure }) => figure.dataset.keys.split(" ")))].slice(0, KEYS);
      const [metrics, found] = await Promise.all([this.#metrics(), this.#query(named)]);
      this.#names = metrics.map((one) => one.name);
      if (!this.#names.length) return;
      const others = this.#names.filter((name) => !named.includes(name)).slice(0, KEYS - named.length);
      if (others.length) for (const [key, one] of await this.#query(others)) found.set(key, one);
      for (const { figure, plot } of this.#plots) {
        if (figure.dataset.limitKey) figure.dataset.limit = levels(figure.dataset.limitKey.split("|"), metrics);
        plot.set(this.#series(figure, found));
      }
    } catch (error) {
      // The page goes on showing the last readings; the next change brings another try.
      console.warn(`readings cannot be fetched: ${error.message}`);
    }
  }

  async #metrics() {
    const { data } = await read(`${this.#url}/metrics`);
    return data.filter((one) => !one.name.startsWith("weight/"));
  }

  async #query(keys, range = {}) {
    const query = new URLSearchParams({ max_points: POINTS, ...range });
    for (const key of keys) query.append("key", key);
    const { series } = await read(`${this.#url}/metrics:query?${query}`);
    return new Map(series.map((one) => [one.key, one]));
  }

  #series(figure, found) {
    return this.#keys(figure).filter((key) => found.has(key)).map((key, style) => {
      const { step_min: from, step_max: to, min: low, max: high, mean, nonfinite, exact } = found.get(key);
      return { label: key, style, from, to, x: middles(from, to), mean, low, high, nonfinite, exact };
    });
  }

  // The parts of the loss are known only once the job reports them.
  #keys(figure) {
    const keys = figure.dataset.keys.split(" ");
    return keys.includes("loss") ? this.#names.filter((name) => name === "loss" || name.startsWith("loss/")) : keys;
  }
}

// The charts of a comparison: one metric each, the jobs that differ in the seed only joined.
export class Compared {
  #ids;
  #plots;

  constructor(root) {
    this.#ids = root.dataset.compared;
    this.#plots = [...root.querySelectorAll(".chart[data-drawn]")].map((figure) => ({
      figure,
      plot: new Plot(figure, (from, to) => this.#bands(figure, { step_from: from, step_to: to })),
    }));
  }

  async refresh() {
    await Promise.all(this.#plots.map(async ({ figure, plot }) => {
      try {
        plot.set(await this.#bands(figure));
      } catch (error) {
        console.warn(`curves cannot be fetched: ${error.message}`);
      }
    }));
  }

  async #bands(figure, range = {}) {
    const query = new URLSearchParams({ ids: this.#ids, key: figure.dataset.keys, max_points: POINTS, ...range });
    const { bands } = await read(`/v1/metrics:bands?${query}`);
    return bands.map((one) => ({
      label: one.job_ids.length > 1 ? `${one.label} (n = ${one.job_ids.length})` : one.label,
      style: one.kind,
      from: one.step_min,
      to: one.step_max,
      x: middles(one.step_min, one.step_max),
      mean: one.mean,
      low: one.low,
      high: one.high,
      nonfinite: one.nonfinite,
      exact: one.exact && one.job_ids.length === 1,
    }));
  }
}

function middles(from, to) {
  return from.map((first, row) => (first + to[row]) / 2);
}

// Last readings of metrics, each apart by a bar; one that has none is empty.
function levels(keys, metrics) {
  return keys.map((key) => metrics.find((one) => one.name === key)?.last ?? "").join("|");
}
