// Shows one synthetic image large in a dialog, beside the real one that is nearest to it: by click or Enter; arrow keys go
// to the images next to it, there and in the rows.

export class Gallery {
  #root;
  #dialog;
  #at = 0;

  constructor(root) {
    this.#root = root;
    this.#dialog = root.querySelector("[data-enlarged]");
    root.addEventListener("click", (event) => this.#click(event));
    root.addEventListener("keydown", (event) => this.#key(event));
    this.#dialog.addEventListener("close", () => this.#tiles[this.#at]?.focus());
    this.refresh();
  }

  get #tiles() {
    return [...this.#root.querySelectorAll("[data-tile]")];
  }

  // One image of each class can be reached with Tab, the others with the arrow keys.
  refresh() {
    for (const row of this.#root.querySelectorAll(".tiles")) {
      [...row.children].forEach((tile, n) => { tile.tabIndex = n ? -1 : 0; });
    }
    if (this.#dialog.open) this.#show(this.#at);
  }

  #click(event) {
    const tile = event.target.closest("[data-tile]");
    const step = event.target.closest("[data-step]");
    if (event.target.closest("[data-close]") || event.target === this.#dialog) this.#dialog.close();
    else if (step) this.#show(this.#at + Number(step.dataset.step));
    else if (tile && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      this.#show(this.#tiles.indexOf(tile));
      this.#dialog.showModal();
    }
  }

  #key(event) {
    const tile = event.target.closest("[data-tile]");
    const row = tile ? tile.parentElement.children.length : 0;
    const moves = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -row, ArrowDown: row };
    if (!(event.key in moves) || event.target.matches("input")) return;
    if (this.#dialog.open) this.#show(this.#at + Math.sign(moves[event.key]));
    else if (tile) this.#tiles[this.#tiles.indexOf(tile) + moves[event.key]]?.focus();
    else return;
    event.preventDefault();
  }

  #show(wanted) {
    const tiles = this.#tiles;
    this.#at = (wanted + tiles.length) % tiles.length;
    const tile = tiles[this.#at];
    const url = tile.querySelector("image").getAttribute("href");
    enlarge(this.#dialog.querySelector("svg"), tile, url);
    this.#compare(tile, url);
    const moment = this.#root.querySelector("[data-moment]")?.textContent;
    this.#dialog.querySelector("h3").textContent = [tile.getAttribute("aria-label"), moment].filter(Boolean).join(" · ");
  }

  // Neighbours are those of the finished images; the sheet of real ones is laid out like theirs.
  #compare(tile, url) {
    const known = document.querySelector("[data-neighbours]");
    const near = known?.children[this.#at];
    const finished = known?.dataset.of === url;
    const real = this.#dialog.querySelector("[data-real]");
    real.hidden = !(near && finished && known.dataset.sheet);
    if (!real.hidden) enlarge(real.querySelector("svg"), tile, known.dataset.sheet);
    const words = this.#dialog.querySelector("[data-neighbour]");
    if (!near) words.textContent = known?.dataset.none ?? "";
    else if (!finished) words.textContent = "The nearest real image is known of the finished images only.";
    else words.replaceChildren(...described(near));
  }
}

function enlarge(drawing, tile, url) {
  const image = drawing.firstElementChild;
  drawing.setAttribute("viewBox", tile.querySelector("svg").getAttribute("viewBox"));
  for (const name of ["width", "height"]) image.setAttribute(name, tile.querySelector("image").getAttribute(name));
  image.setAttribute("href", url);
}

// The name of a class keeps its own direction of writing.
function described(near) {
  const name = document.createElement("bdi");
  name.textContent = near.textContent;
  const { row, distance, copyOf } = near.dataset;
  const rest = `, row ${row} of the training images. Distance in pixels ${distance}${copyOf === undefined ? "" : ": near copy"}.`;
  return ["Nearest real image: class ", name, rest];
}
