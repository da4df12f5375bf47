// Sends a Blob, or what can be sliced like one, as the content of a set, a slice at a time, and goes on behind what has come after the line was cut.

const SLICE = 32 * 1024 * 1024;
const WAITS_S = [1, 2, 4, 8, 15, 30, 30, 30];
const PASSING = new Set([408, 429, 500, 502, 503, 504]);

// What the service answers instead of what was asked for, in its words.
export class Refusal extends Error {
  constructor(status, problem) {
    super(sentence(problem?.detail ?? `The service answered ${status}`));
    this.status = status;
    this.problem = problem ?? {};
  }
}

// The connection, and not the service, was at fault.
export class Lost extends Error {}

export async function ask(method, url, body) {
  const headers = body === undefined ? {} : { "Content-Type": "application/json" };
  let answer;
  try {
    answer = await fetch(url, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
  } catch {
    throw new Lost("The connection was lost");
  }
  const text = await answer.text();
  if (!answer.ok) throw new Refusal(answer.status, parsed(text));
  return parsed(text);
}

export class Sending {
  #id;
  #blob;
  #request = null;
  #wake = null;
  #onProgress;
  #onPause;
  cancelled = false;

  // onProgress(bytes) as bytes go; onPause(seconds) when the line was cut and it waits, onPause(0) when it goes on.
  constructor(id, blob, { onProgress, onPause }) {
    this.#id = id;
    this.#blob = blob;
    this.#onProgress = onProgress;
    this.#onPause = onPause;
  }

  cancel() {
    this.cancelled = true;
    this.#request?.abort();
    this.#wake?.();
  }

  // Sends from a byte on, or from where the service is. Resolves when everything is there, or it was cancelled; rejects
  // where going on is no use, or failed too often.
  async run(from) {
    let failures = 0;
    let at = from ?? (await this.#ask()) ?? 0;
    while (at <= this.#blob.size && !this.cancelled) {
      try {
        at = this.#received(await this.#send(at));
        failures = 0;
      } catch (error) {
        if (this.cancelled) return;
        if (!passing(error) || failures >= WAITS_S.length) throw error;
        await this.#pause(WAITS_S[failures]);
        failures += 1;
        this.#onPause(0);
        const there = await this.#ask();
        if (there > at) failures = 0;
        at = there ?? at;
      }
      this.#onProgress(Math.min(at, this.#blob.size));
    }
  }

  // Bytes that the service has; undefined where it cannot be asked now.
  async #ask() {
    if (this.cancelled) return undefined;
    try {
      return this.#received(await ask("GET", `/v1/datasets/${this.#id}`));
    } catch (error) {
      if (!passing(error)) throw error;
      return undefined;
    }
  }

  // More than all of it once it is being taken in: the service may have every byte, and not have been told so.
  #received(set) {
    return set.state === "receiving" ? set.upload.received : Infinity;
  }

  async #send(at) {
    const { size } = this.#blob;
    const end = Math.min(at + SLICE, size);
    const slice = this.#blob.slice(at, end);
    try {
      return await this.#put(slice, `bytes ${at < end ? `${at}-${end - 1}` : "*"}/${size}`, at);
    } catch (error) {
      // A file that was changed since it was chosen looks like a lost connection; reading it tells which it was.
      if (error instanceof Lost && !this.cancelled) await readable(slice);
      throw error;
    }
  }

  #put(slice, range, at) {
    // fetch() does not tell how much of a body has gone.
    return new Promise((resolve, reject) => {
      const request = new XMLHttpRequest();
      this.#request = request;
      request.open("PUT", `/v1/datasets/${this.#id}/content`);
      request.setRequestHeader("Content-Type", "application/octet-stream");
      request.setRequestHeader("Content-Range", range);
      request.upload.onprogress = (event) => this.#onProgress(at + event.loaded);
      request.onload = () => {
        const told = parsed(request.responseText);
        if (request.status >= 200 && request.status < 300) resolve(told);
        else reject(new Refusal(request.status, told));
      };
      request.onerror = request.onabort = () => reject(new Lost("The connection was lost"));
      request.send(slice);
    });
  }

  #pause(seconds) {
    this.#onPause(seconds);
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, seconds * 1000);
      this.#wake = () => { clearTimeout(timer); resolve(); };
    });
  }
}

// Whether going on may help: the line was cut, the service is busy, or it has other bytes than we thought.
function passing(error) {
  return error instanceof Lost || PASSING.has(error.status) || error.problem?.received !== undefined;
}

async function readable(slice) {
  try {
    await slice.arrayBuffer();
  } catch {
    throw new Refusal(0, { detail: "a file was changed or removed since you chose it; choose the files again" });
  }
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

function sentence(text) {
  return `${text[0].toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? "" : "."}`;
}
