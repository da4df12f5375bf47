// The form of a job, answered while one types. The server renders the same page for what was typed so far; its fields,
// faults and estimate are taken over from there, so that everything also works without scripts.

const PAUSE_MS = 350;

export class JobForm {
  #form;
  #timer = null;
  #request = null;

  constructor(form) {
    this.#form = form;
    form.addEventListener("input", () => this.#later(PAUSE_MS));
    form.addEventListener("change", (event) => { if (event.target.matches("[data-outline]")) this.#later(0); });
    form.addEventListener("submit", (event) => this.#submit(event));
  }

  #submit(event) {
    // Enter in a field, or the button that is for browsers without scripts.
    if (event.submitter?.value === "submit" && event.submitter.closest("[data-panel]")) return;
    event.preventDefault();
    this.#later(0);
  }

  #later(wait) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#look(), wait);
  }

  async #look() {
    this.#request?.abort();
    const request = new AbortController();
    this.#request = request;
    const fields = new URLSearchParams(new FormData(this.#form));
    fields.set("do", "look");
    try {
      const answer = await fetch(this.#form.action, { method: "POST", body: fields, signal: request.signal });
      if (answer.status === 401) return location.reload();
      if (!answer.ok) throw new Error(`answered ${answer.status}`);
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      if (this.#request === request) this.#take(page);
    } catch (error) {
      if (error.name !== "AbortError") document.getElementById("verdict").textContent = "Not checked: the service does not answer";
    }
  }

  #take(page) {
    for (const id of ["panel", "left-out"]) exchange(document.getElementById(id), page.getElementById(id));
    document.getElementById("outline").value = page.getElementById("outline").value;
    for (const fresh of page.querySelectorAll("#job-form [data-box]")) {
      const box = document.getElementById(fresh.id);
      if (box && box.dataset.box !== fresh.dataset.box) renew(box, fresh);
    }
    for (const fresh of page.querySelectorAll("#job-form [id^='fault-'], #job-form [id^='help-']")) {
      exchange(document.getElementById(fresh.id), fresh);
    }
    for (const fresh of page.querySelectorAll("#job-form [name]")) {
      const field = document.getElementById(fresh.id);
      if (!field || fresh.type === "hidden") continue;
      field.toggleAttribute("aria-invalid", false);
      if (fresh.hasAttribute("aria-invalid")) field.setAttribute("aria-invalid", "true");
      if (fresh.placeholder) field.placeholder = fresh.placeholder;
      if (fresh.options) field.options[0].textContent = fresh.options[0].textContent;
    }
  }
}

// A field whose choice has other fields now; it keeps the focus and what was typed since.
function renew(box, fresh) {
  const before = document.activeElement;
  const typed = before?.type === "text" ? [before.value, before.selectionStart, before.selectionEnd] : null;
  const open = unfoldedIn(box);
  box.dataset.box = fresh.dataset.box;
  box.replaceChildren(...fresh.cloneNode(true).childNodes);
  for (const details of box.querySelectorAll("details")) details.open ||= open.has(details.id);
  const focused = before?.id ? box.querySelector(`#${CSS.escape(before.id)}`) : null;
  if (!focused) return;
  focused.focus({ preventScroll: true });
  if (typed) {
    focused.value = typed[0];
    focused.setSelectionRange(typed[1], typed[2]);
  }
}

function exchange(part, fresh) {
  if (!part || !fresh || part.innerHTML === fresh.innerHTML) return;
  const open = unfoldedIn(part);
  const focusable = "a, button, summary";
  const focused = [...part.querySelectorAll(focusable)].indexOf(document.activeElement);
  part.replaceChildren(...fresh.cloneNode(true).childNodes);
  for (const details of part.querySelectorAll("details")) details.open ||= open.has(details.id);
  if (focused >= 0) part.querySelectorAll(focusable)[focused]?.focus({ preventScroll: true });
}

function unfoldedIn(part) {
  return new Set([...part.querySelectorAll("details[open]")].map((details) => details.id));
}

// The search of presets, answered while one types.
export class PresetSearch {
  #form;
  #timer = null;

  constructor(form) {
    this.#form = form;
    form.addEventListener("input", () => {
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => this.#search(), PAUSE_MS);
    });
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#search();
    });
  }

  async #search() {
    clearTimeout(this.#timer);
    const asked = new URLSearchParams(new FormData(this.#form)).toString();
    const answer = await fetch(`${this.#form.action}?${asked}`);
    if (!answer.ok || asked !== new URLSearchParams(new FormData(this.#form)).toString()) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    exchange(document.getElementById("presets-found"), page.getElementById("presets-found"));
  }
}
