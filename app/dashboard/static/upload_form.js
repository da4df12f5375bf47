// The card that takes images in: what was dropped or chosen, its name and options, and how far its upload is.
import { chosen, filesOf, packed } from "./dropped.js";
import { Lost, Refusal, Sending, ask } from "./sending.js";
import { Speed, optionsOf, sizeText } from "./upload_words.js";

const SHOW_MS = 250;
const SAY_SHARE = 0.1;

export class UploadForm {
  #root;
  #form;
  #onChange;
  #pack = null;
  #id = null;
  #sending = null;
  #sent = 0;
  #saidShare = 0;
  #speed = new Speed();

  // onChange() when a set has come or gone.
  constructor(root, onChange) {
    this.#root = root;
    this.#onChange = onChange;
    this.#form = root.querySelector("form");
    for (const input of root.querySelectorAll("[data-files]")) {
      const take = () => { this.#take(() => chosen(input.files)); };
      input.addEventListener("change", take);
      if (input.files.length) take(); // chosen before this script was there
    }
    this.#listenForDrops();
    this.#form.addEventListener("submit", (event) => { event.preventDefault(); this.#begin(); });
    this.#part("cancel").addEventListener("click", () => this.#cancel());
    this.#part("resume").addEventListener("click", () => this.#send());
    addEventListener("beforeunload", (event) => { if (this.#sending) event.preventDefault(); });
  }

  // What misses the card by a little would otherwise be opened by the browser in place of this page.
  #listenForDrops() {
    const carriesFiles = (event) => event.dataTransfer?.types.includes("Files");
    const over = (is) => this.#part("drop").classList.toggle("over", is);
    document.addEventListener("dragover", (event) => {
      if (!carriesFiles(event)) return;
      event.preventDefault();
      over(!this.#sending);
    });
    document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) over(false); });
    document.addEventListener("drop", (event) => {
      if (!carriesFiles(event)) return;
      event.preventDefault();
      over(false);
      if (!this.#sending) this.#take(() => filesOf(event.dataTransfer, (count) => this.#what(`${written(count)} files so far`)));
    });
  }

  async #take(find) {
    this.#fault(null);
    this.#id = null;
    this.#part("start").disabled = true;
    this.#what("Looking at what you chose");
    try {
      const files = await find();
      this.#pack = files.length ? packed(files) : null;
      if (!this.#pack) return this.#what("There are no files in it. Choose others.");
      if (!this.#pack.blob.size) { this.#pack = null; return this.#what("This file is empty. Choose another."); }
    } catch (error) {
      this.#pack = null;
      return this.#what(`This cannot be read (${error.message || error.name}). Choose it again.`);
    }
    this.#describe();
    this.#form.elements.name.value = this.#pack.name;
    this.#part("start").disabled = false;
    return this.#form.elements.name.focus();
  }

  async #begin() {
    if (!this.#pack || this.#sending) return;
    const { file, blob } = this.#pack;
    this.#fault(null);
    this.#describe();
    this.#part("start").disabled = true;
    try {
      const name = this.#form.elements.name.value.trim();
      this.#id = (await ask("POST", "/v1/datasets", { name, file, size: blob.size, options: optionsOf(this.#form) })).id;
    } catch (error) {
      this.#part("start").disabled = false;
      return this.#fault(error);
    }
    this.#onChange();
    return this.#send(0);
  }

  // From a byte on; from where it was cut where none is given.
  async #send(from) {
    this.#fault(null);
    this.#busy(true);
    this.#say("Sending");
    this.#speed = new Speed();
    this.#sent = 0;
    this.#saidShare = 0;
    // What has gone is told more often than anybody can read, and last of all just when it matters.
    const ticker = setInterval(() => this.#show(), SHOW_MS);
    const sending = new Sending(this.#id, this.#pack.blob, {
      onProgress: (bytes) => { this.#sent = bytes; },
      onPause: (seconds) => this.#say(seconds ? `The connection was lost. Trying again in ${seconds} s.` : "Going on"),
    });
    this.#sending = sending;
    try {
      await sending.run(from);
      if (sending.cancelled) return;
      this.#sending = null;
      location.assign(`/datasets/${this.#id}`);
    } catch (error) {
      this.#sending = null;
      this.#busy(false);
      this.#fault(error);
      if (error instanceof Refusal) await this.#forget().catch(() => {});
    } finally {
      clearInterval(ticker);
    }
  }

  async #cancel() {
    this.#sending?.cancel();
    this.#sending = null;
    this.#busy(false);
    try {
      await this.#forget();
      this.#what("Cancelled. Nothing was kept.");
    } catch (error) {
      this.#fault(error);
    }
  }

  // What cannot go on is not left behind, neither here nor there.
  async #forget() {
    const id = this.#id;
    this.#id = null;
    this.#part("start").disabled = false;
    await ask("DELETE", `/v1/datasets/${id}`);
    this.#onChange();
  }

  #show() {
    if (!this.#sending) return;
    const { size } = this.#pack.blob;
    const bytes = Math.min(this.#sent, size);
    const share = bytes / size;
    this.#speed.note(bytes);
    this.#part("bar").value = share;
    const words = [`${sizeText(bytes)} of ${sizeText(size)}`, this.#speed.text(size - bytes)];
    this.#part("told").textContent = words.filter(Boolean).join(" · ");
    if (share - this.#saidShare >= SAY_SHARE || (share === 1 && this.#saidShare < 1)) {
      this.#saidShare = share;
      this.#say(`${Math.round(100 * share)} % is sent`);
    }
  }

  #busy(is) {
    this.#part("sending").hidden = !is;
    this.#form.inert = is;
    this.#root.classList.toggle("busy", is);
  }

  #fault(error) {
    const box = this.#part("fault");
    box.hidden = !error;
    if (!error) return;
    const faults = error instanceof Refusal ? error.problem.errors ?? [] : [];
    this.#part("title").textContent = error instanceof Lost ? "The connection was lost" : error.problem?.title ?? "The upload failed";
    this.#part("why").textContent = faults.length > 1 ? faults.map((fault) => `${fault.detail}.`).join(" ") : error.message;
    this.#part("resume").hidden = !(this.#id && error instanceof Lost);
  }

  #describe() {
    const { count, file, blob } = this.#pack;
    this.#what(`${count === 1 ? file : `${written(count)} files, sent as ${file}`}, ${sizeText(blob.size)}`);
  }

  #what(text) {
    this.#part("what").textContent = text;
  }

  #say(text) {
    this.#part("status").textContent = text;
  }

  #part(name) {
    return this.#root.querySelector(`[data-part="${name}"]`);
  }
}

function written(count) {
  return count.toLocaleString("en");
}
