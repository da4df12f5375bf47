// Bytes, speeds and options of an upload: from numbers to words, and from a form to what the service takes.

const WINDOW_MS = 5000;
const UNITS = ["KiB", "MiB", "GiB", "TiB"];

export function sizeText(bytes) {
  if (bytes < 1024) return `${bytes} B`;
  let amount = bytes;
  let unit = -1;
  do {
    amount /= 1024;
    unit += 1;
  } while (amount >= 1024 && unit < UNITS.length - 1);
  return `${amount.toFixed(1)} ${UNITS[unit]}`;
}

// The speed of the last few seconds, since that is what the rest will take.
export class Speed {
  #notes = [];

  note(bytes) {
    const now = Date.now();
    // After a cut it goes on behind what has come, which may be less than had been sent.
    if (this.#notes.length && bytes < this.#notes.at(-1).bytes) this.#notes = [];
    this.#notes.push({ now, bytes });
    while (now - this.#notes[0].now > WINDOW_MS && this.#notes.length > 2) this.#notes.shift();
  }

  text(left) {
    const first = this.#notes[0];
    const last = this.#notes.at(-1);
    const perSecond = (1000 * (last.bytes - first.bytes)) / Math.max(last.now - first.now, 1);
    if (last.now - first.now < 500 || perSecond <= 0) return "";
    return `${sizeText(perSecond)} a second${left > 0 ? ` · about ${span(left / perSecond)} left` : ""}`;
  }
}

// The options of a form, as JSON has them; what is empty keeps its default.
export function optionsOf(form) {
  const options = {};
  for (const field of form.querySelectorAll("[data-option]")) {
    const value = field.type === "checkbox" ? field.checked : field.value.trim();
    if (value !== "" && value !== false) options[field.name] = read(value, field.dataset.option);
  }
  return options;
}

function read(value, kind) {
  if (kind === "number") return Number(value);
  if (kind !== "size") return value;
  const sides = value.split(/\s*[x×]\s*/i).map(Number);
  if (sides.some(Number.isNaN)) return value;
  return sides.length === 1 ? sides[0] : sides;
}

function span(seconds) {
  if (seconds < 60) return `${Math.max(1, Math.round(seconds))} s`;
  return seconds < 3600 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
}
