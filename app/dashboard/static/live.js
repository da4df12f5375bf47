// Keeps a page as the server would render it now: when the server says that something has changed, the page is
// fetched again and its parts marked data-live are exchanged. A page that says which version it shows (data-version)
// is fetched again only for another version. What the page follows (data-stream), and how often it looks by itself
// (data-every, in seconds), may be another after each exchange.

const GAP_MS = 1000;
const ALL = "/v1/events:stream";
const FOCUSABLE = "a, button, input, select, summary, [tabindex]";

export class Live {
  #shown = new Map();
  #timer = null;
  #stale = false;
  #last = Date.now() - GAP_MS;
  #source = null;
  #path = null;
  #state = "connecting";
  #onRefresh;
  #version = versionOf(document);

  constructor({ onRefresh = () => {} } = {}) {
    this.#onRefresh = onRefresh;
    for (const part of document.querySelectorAll("[data-live]")) this.#shown.set(part.id, part.innerHTML);
    this.#follow(document);
    setInterval(() => this.#lookAgain(), GAP_MS);
    addEventListener("pagehide", () => this.#source.close());
  }

  #follow(page) {
    const url = page.querySelector("[data-stream]")?.dataset.stream ?? ALL;
    if (pathOf(url) === this.#path) return;
    this.#path = pathOf(url);
    this.#source?.close();
    const source = new EventSource(url);
    this.#source = source;
    source.onopen = () => {
      this.#say("live");
      // Something may have happened between the rendering of the page and now; of a version the server tells.
      if (this.#version === null) this.schedule();
    };
    source.onerror = () => this.#say("lost");
    source.onmessage = () => this.schedule();
    source.addEventListener("progress", (message) => {
      if (JSON.parse(message.data).version !== this.#version) this.schedule();
    });
    source.addEventListener("end", () => {
      source.close();
      this.#say("ended");
      if (this.#version === null) this.schedule();
    });
  }

  #lookAgain() {
    const every = Number(document.querySelector("[data-every]")?.dataset.every ?? 0);
    if (every && Date.now() - this.#last >= every * 1000) this.schedule();
  }

  schedule() {
    this.#stale = true;
    if (this.#timer !== null) return;
    const wait = Math.max(0, this.#last + GAP_MS - Date.now());
    this.#timer = setTimeout(() => this.#refresh(), wait);
  }

  async #refresh() {
    this.#last = Date.now();
    // What is said from here on may have happened after the page was rendered that is now asked for.
    this.#stale = false;
    try {
      const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
      if (answer.status === 401) return location.reload();
      if (answer.ok) {
        const page = new DOMParser().parseFromString(await answer.text(), "text/html");
        for (const part of document.querySelectorAll("[data-live]")) this.#exchange(part, page.getElementById(part.id));
        document.title = page.title;
        this.#version = versionOf(page);
        this.#follow(page);
        this.#onRefresh(page);
      }
    } catch {
      this.#say("lost");
    } finally {
      this.#timer = null;
      this.#say(this.#state);
      if (this.#stale) this.schedule();
    }
  }

  #exchange(part, fresh) {
    if (!fresh || this.#shown.get(part.id) === fresh.innerHTML) return;
    this.#shown.set(part.id, fresh.innerHTML);
    const focused = [...part.querySelectorAll(FOCUSABLE)].indexOf(document.activeElement);
    const scrolled = [...part.querySelectorAll("[tabindex]")].map((box) => box.scrollTop);
    const open = new Set([...part.querySelectorAll("details[open]")].map((details) => details.id));
    const ticked = new Set([...part.querySelectorAll("input[name]:checked")].map((box) => box.value));
    part.replaceChildren(...fresh.childNodes);
    for (const box of part.querySelectorAll("input[type=checkbox][name]")) box.checked = ticked.has(box.value);
    for (const details of part.querySelectorAll("details")) details.open = open.has(details.id);
    part.querySelectorAll("[tabindex]").forEach((box, index) => { box.scrollTop = scrolled[index] ?? 0; });
    if (focused >= 0) part.querySelectorAll(FOCUSABLE)[focused]?.focus({ preventScroll: true });
  }

  #say(state) {
    this.#state = state;
    const words = { connecting: "connecting", live: "live", lost: "reconnecting", ended: "ended" };
    for (const place of document.querySelectorAll("[data-live-state]")) {
      place.dataset.state = state;
      if (place.textContent !== words[state]) place.textContent = words[state];
    }
  }
}

function versionOf(page) {
  const shown = page.querySelector("[data-version]");
  return shown ? Number(shown.dataset.version) : null;
}

// Where a stream goes on is no part of what it is a stream of.
function pathOf(url) {
  return url.split("?")[0];
}
