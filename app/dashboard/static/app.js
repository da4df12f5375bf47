// Entry point of every page: each part wakes up where its elements are.
import { Compared, Curves } from "./curves.js";
import { Gallery } from "./gallery.js";
import { JobForm, PresetSearch } from "./job_form.js";
import { Live } from "./live.js";
import { Scrubber } from "./scrubber.js";
import { UploadForm } from "./upload_form.js";

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

const { job } = document.querySelector("[data-job]")?.dataset ?? {};
const curvesRoot = document.querySelector("[data-curves]");
// Without the chart library, the page keeps what the server has drawn.
const curves = job && curvesRoot && window.uPlot ? new Curves(job, curvesRoot) : null;
const comparedRoot = document.querySelector("[data-compared]");
if (comparedRoot && window.uPlot) new Compared(comparedRoot).refresh();
const images = job ? document.getElementById("images") : null;
const scrubber = images && new Scrubber(images);
const gallery = images && new Gallery(images);
curves?.refresh();

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
if (upload) new UploadForm(upload, () => live?.schedule());

const jobForm = document.querySelector("[data-job-form]");
if (jobForm) new JobForm(jobForm);
const presets = document.querySelector("[data-presets]");
if (presets) new PresetSearch(presets);
