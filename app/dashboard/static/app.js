// Entry point of every page: each part is fetched and wakes up where its elements are.
import { Live } from "./live.js";

document.documentElement.classList.remove("no-js");

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const source = button.parentElement.querySelector("pre");
  const text = button.dataset.copy || source?.textContent || "";
  try {
    await navigator.clipboard.writeText(text);
    announce(button, "Copied");
  } catch {
    // Browsers give no clipboard to pages that came over plain HTTP from another machine.
    if (source) getSelection().selectAllChildren(source);
    announce(button, source ? "Press Ctrl+C" : text);
  }
});

document.addEventListener("submit", (event) => {
  const question = event.target.dataset.confirm;
  if (question && !confirm(question)) event.preventDefault();
});

document.addEventListener("click", (event) => {
  const question = event.target.dataset?.confirmClick;
  if (question && !confirm(question)) event.preventDefault();
});

document.addEventListener("change", (event) => {
  if (event.target.matches("[data-tick-all]")) {
    for (const box of document.querySelectorAll("input[name=job]")) box.checked = event.target.checked;
  }
  if (event.target.matches("[data-submit]")) event.target.form.requestSubmit();
});

function announce(button, word) {
  const before = button.textContent;
  button.textContent = word;
  setTimeout(() => { button.textContent = before; }, 1600);
}

// What is under way elsewhere, on a page that has nothing else to lose.
const waiting = document.querySelector("[data-look-again]");
if (waiting) {
  const look = setTimeout(() => location.reload(), 1000 * waiting.dataset.lookAgain);
  // Reloading would call a user back who has left for another page.
  addEventListener("beforeunload", () => clearTimeout(look));
}

const { job } = document.querySelector("[data-job]")?.dataset ?? {};
const curvesRoot = document.querySelector("[data-curves]");
// Without the chart library, the page keeps what the server has drawn.
const comparedRoot = document.querySelector("[data-compared]");
const charts = window.uPlot && (curvesRoot || comparedRoot) ? await import("./curves.js") : null;
const curves = charts && job && curvesRoot ? new charts.Curves(job, curvesRoot) : null;
if (charts && comparedRoot) new charts.Compared(comparedRoot).refresh();
curves?.refresh();
const images = job ? document.getElementById("images") : null;
const scrubber = images && new (await import("./scrubber.js")).Scrubber(images);
const gallery = images && new (await import("./gallery.js")).Gallery(images);

let live = null;
if (document.querySelector("[data-live-state]")) {
  live = new Live({
    onRefresh: (page) => {
      curves?.refresh();
      scrubber?.update(page);
      gallery?.refresh();
    },
  });
}

const upload = document.querySelector("[data-upload]");
if (upload) {
  const { UploadForm } = await import("./upload_form.js");
  new UploadForm(upload, () => live?.schedule());
}

const saved = document.querySelector("[data-saved]");
if (saved) {
  const { SavedFilters } = await import("./saved_filters.js");
  new SavedFilters(saved);
}

const jobForm = document.querySelector("[data-job-form]");
const presets = document.querySelector("[data-presets]");
if (jobForm || presets) {
  const { JobForm, PresetSearch } = await import("./job_form.js");
  if (jobForm) new JobForm(jobForm);
  if (presets) new PresetSearch(presets);
}
