// Packs files into a tar that is a Blob of pieces: nothing of them is read before it is sent. Headers are those of
// ustar; a name that does not fit there, or is not ASCII, and a size beyond 8 GiB stand in a record of pax before it.

const BLOCK = 512;
const NAME_BYTES = 100;
const USTAR_SIZE = 8 ** 11;
const encoder = new TextEncoder();

// files: [{ path, file }] with a path such as "photos/cat/1.png".
export function tarOf(files) {
  const pieces = [];
  let padding = 0;
  for (const { path, file } of files) {
    // The filling behind one file and the header of the next are one piece: a Blob of fewer pieces is made faster.
    pieces.push(join([new Uint8Array(padding), ...headers(path, file)]), file);
    padding = filling(file.size);
  }
  pieces.push(new Uint8Array(padding + 2 * BLOCK));
  return new Blob(pieces, { type: "application/x-tar" });
}

function headers(path, file) {
  const name = encoder.encode(path);
  const seconds = Math.max(0, Math.floor((file.lastModified ?? 0) / 1000));
  const records = [];
  if (name.length > NAME_BYTES || name.length !== path.length) records.push(["path", path]);
  if (file.size >= USTAR_SIZE) records.push(["size", String(file.size)]);
  // Where a record of pax says it, the header only has to have something.
  const own = header(name.subarray(0, NAME_BYTES), file.size >= USTAR_SIZE ? 0 : file.size, "0", seconds);
  if (!records.length) return [own];
  const data = join(records.map(([key, value]) => record(key, value)));
  const before = header(encoder.encode("PaxHeader"), data.length, "x", seconds);
  return [before, data, new Uint8Array(filling(data.length)), own];
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
