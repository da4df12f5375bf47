// Moves through the pictures of a run, by hand or as a film.

const FRAME_MS = 300;

export class Scrubber {
  #root;
  #frames;
  #timer = null;

  constructor(root) {
    this.#root = root;
    const list = root.querySelector("noscript")?.textContent ?? "";
    this.#frames = frames(new DOMParser().parseFromString(list, "text/html"));
    root.addEventListener("input", (event) => {
      if (event.target.matches("[data-scrubber]")) this.#stop().#show();
    });
    root.querySelector("[data-play]").addEventListener("click", () => this.#toggle());
    this.#enable();
  }

  get #range() {
    return this.#root.querySelector("[data-scrubber]");
  }

  // Takes over the pictures of a newer rendering; a reader of the newest goes on to the new newest.
  update(page) {
    const fresh = frames(page);
    if (fresh.length <= this.#frames.length && fresh.at(-1)?.url === this.#frames.at(-1)?.url) return;
    if (!this.#range) {
      const body = page.querySelector("#images .body");
      this.#root.querySelector(".body").replaceWith(body);
    }
    const following = Number(this.#range.value) >= this.#frames.length - 1;
    this.#frames = fresh;
    this.#range.max = fresh.length - 1;
    if (following) this.#range.value = fresh.length - 1;
    this.#show();
    this.#enable();
  }

  #show() {
    const frame = this.#frames[Number(this.#range.value)];
    if (!frame) return this;
    this.#root.querySelectorAll("img[data-frame]").forEach((image) => { image.src = frame.url; });
    this.#root.querySelectorAll("image[data-frame]").forEach((image) => image.setAttribute("href", frame.url));
    this.#root.querySelectorAll("[data-frame-link], [data-tile]").forEach((link) => { link.href = frame.url; });
    this.#check(frame.url);
    this.#root.querySelector("[data-moment]").textContent = frame.label;
    this.#range.setAttribute("aria-valuetext", frame.label);
    return this;
  }

  // Sheets of stages with other numbers of images are laid out differently, and are shown whole.
  #check(url) {
    const gallery = this.#root.querySelector("[data-gallery]");
    if (!gallery) return;
    const sheet = new Image();
    sheet.onload = () => {
      if (this.#frames[Number(this.#range.value)]?.url !== url) return;
      const fits = sheet.naturalWidth === Number(gallery.dataset.width) && sheet.naturalHeight === Number(gallery.dataset.height);
      gallery.hidden = !fits;
      this.#root.querySelector("[data-sheet]").hidden = fits;
    };
    sheet.src = url;
  }

  #toggle() {
    if (this.#timer !== null) return this.#stop();
    if (Number(this.#range.value) >= this.#frames.length - 1) this.#range.value = 0;
    // Loading ahead keeps the film from stuttering.
    for (const frame of this.#frames) new Image().src = frame.url;
    this.#button("Pause", true);
    this.#show();
    this.#timer = setInterval(() => {
      if (Number(this.#range.value) >= this.#frames.length - 1) return this.#stop();
      this.#range.value = Number(this.#range.value) + 1;
      return this.#show();
    }, FRAME_MS);
    return this;
  }

  #stop() {
    clearInterval(this.#timer);
    this.#timer = null;
    this.#button("Play", false);
    return this;
  }

  #enable() {
    this.#root.querySelector("[data-play]").disabled = this.#frames.length < 2;
  }

  #button(word, pressed) {
    const button = this.#root.querySelector("[data-play]");
    button.textContent = word;
    button.setAttribute("aria-pressed", String(pressed));
  }
}

function frames(page) {
  return [...page.querySelectorAll(".frames a")].map((link) => ({ url: link.getAttribute("href"), label: link.textContent }));
}
