// The charts of a job: which metrics go where stands in the page, their readings come from the API.
import { LineChart } from "./chart.js";

const POINTS = 300;
const KEYS = 16;

export class Curves {
  #url;
  #charts;

  constructor(job, root) {
    this.#charts = [...root.querySelectorAll(".chart")].map((figure) => ({ figure, chart: new LineChart(figure) }));
    this.#url = `/v1/jobs/${job}`;
  }

  async refresh() {
    try {
      const metrics = await this.#metrics();
      const names = metrics.map((one) => one.name);
      if (!names.length) return;
      const query = new URLSearchParams({ max_points: POINTS });
      names.slice(0, KEYS).forEach((name) => query.append("key", name));
      const { series } = await read(`${this.#url}/metrics:query?${query}`);
      const byKey = new Map(series.map((one) => [one.key, one]));
      for (const { figure, chart } of this.#charts) {
        const limit = metrics.find((one) => one.name === figure.dataset.limitKey)?.last;
        if (typeof limit === "number") figure.dataset.limit = limit;
        chart.set(this.#keys(figure, names).map((key) => byKey.get(key)).filter(Boolean));
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

  // The parts of the loss are known only once the job reports them.
  #keys(figure, names) {
    const keys = figure.dataset.keys.split(" ");
    return keys.includes("loss") ? names.filter((name) => name === "loss" || name.startsWith("loss/")) : keys;
  }
}

async function read(url) {
  const answer = await fetch(url, { headers: { Accept: "application/json" } });
  if (!answer.ok) throw new Error(`${answer.status} from ${url}`);
  return answer.json();
}
