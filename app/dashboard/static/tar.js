// Packs files into a tar that is made a slice at a time, when it is sent: of a folder of a hundred thousand files, only
// sizes are reckoned beforehand. Headers are those of ustar; a name that does not fit there, or is not ASCII, and a size
// beyond 8 GiB stand in a record of pax before it.

const BLOCK = 512;
const NAME_BYTES = 100;
const USTAR_SIZE = 8 ** 11;
const encoder = new TextEncoder();

// As much of a Blob as sending one needs.
export class Tar {
  #files;
  #starts;
  size;

  // files: [{ path, file }] with a path such as "photos/cat/1.png".
  constructor(files) {
    this.#files = files;
    this.#starts = new Float64Array(files.length + 1);
    let at = 0;
    files.forEach(({ path, file }, index) => {
      this.#starts[index] = at;
      at += headersLength(path, file) + file.size + filling(file.size);
    });
    this.#starts[files.length] = at;
    this.size = at + 2 * BLOCK;
  }

  slice(from, to) {
    const first = this.#at(from);
    const pieces = [];
    let index = first;
    for (; index < this.#files.length && this.#starts[index] < to; index += 1) {
      const { path, file } = this.#files[index];
      pieces.push(...headers(path, file), file, new Uint8Array(filling(file.size)));
    }
    if (index === this.#files.length) pieces.push(new Uint8Array(2 * BLOCK));
    return new Blob(pieces).slice(from - this.#starts[first], to - this.#starts[first]);
  }

  // Number of the file that has a byte; behind them all, that of the end.
  #at(byte) {
    let [low, high] = [0, this.#files.length];
    while (low < high) {
      const middle = Math.ceil((low + high) / 2);
      if (this.#starts[middle] <= byte) low = middle;
      else high = middle - 1;
    }
    return low;
  }
}

function headersLength(path, file) {
  const data = records(path, file).length;
  return data ? 2 * BLOCK + data + filling(data) : BLOCK;
}

function headers(path, file) {
  const seconds = Math.max(0, Math.floor((file.lastModified ?? 0) / 1000));
  // Where a record of pax says it, the header only has to have something.
  const name = encoder.encode(path).subarray(0, NAME_BYTES);
  const own = header(name, file.size >= USTAR_SIZE ? 0 : file.size, "0", seconds);
  const data = records(path, file);
  if (!data.length) return [own];
  const before = header(encoder.encode("PaxHeader"), data.length, "x", seconds);
  return [before, data, new Uint8Array(filling(data.length)), own];
}

// What the header of a file cannot say, for pax; empty where it says everything.
function records(path, file) {
  const name = encoder.encode(path);
  const found = [];
  if (name.length > NAME_BYTES || name.length !== path.length) found.push(record("path", path));
  if (file.size >= USTAR_SIZE) found.push(record("size", String(file.size)));
  return join(found);
}

function header(name, size, type, seconds) {
  const block = new Uint8Array(BLOCK);
  const put = (text, at) => block.set(encoder.encode(text), at);
  block.set(name, 0);
  put("0000644\0", 100);
  put("0000000\0", 108);
  put("0000000\0", 116);
  put(`${octal(size, 11)}\0`, 124);
  put(`${octal(seconds, 11)}\0`, 136);
  put(" ".repeat(8), 148); // what the checksum counts in its own place
  put(type, 156);
  put("ustar\x0000", 257);
  put(`${octal(block.reduce((sum, byte) => sum + byte, 0), 6)}\0 `, 148);
  return block;
}

// "<length> <key>=<value>\n", where the length counts its own digits too.
function record(key, value) {
  const rest = encoder.encode(` ${key}=${value}\n`);
  let length = rest.length;
  while (String(length).length + rest.length !== length) length = String(length).length + rest.length;
  return join([encoder.encode(String(length)), rest]);
}

function octal(number, digits) {
  return number.toString(8).padStart(digits, "0");
}

function filling(size) {
  return (BLOCK - (size % BLOCK)) % BLOCK;
}

function join(arrays) {
  const all = new Uint8Array(arrays.reduce((sum, array) => sum + array.length, 0));
  let at = 0;
  for (const array of arrays) {
    all.set(array, at);
    at += array.length;
  }
  return all;
}
