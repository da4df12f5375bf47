// What somebody drops or chooses: one file is sent as it is, several files or a folder as one tar.
import { Tar } from "./tar.js";

const NAME_BYTES = 200;
const TOGETHER = 500;
const encoder = new TextEncoder();

// Files below everything that was dropped, with their paths. Entries have to be asked for before the event is over.
export function filesOf(transfer, onCount) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.length) return Promise.resolve(chosen(transfer.files));
  return walk(entries, onCount);
}

// The same of an <input type="file">.
export function chosen(list) {
  return [...list].map((file) => ({ path: file.webkitRelativePath || file.name, file }));
}

// { blob, file, name, count } of what will be sent; name is what the set could be called.
export function packed(files) {
  const sorted = files.toSorted((a, b) => (a.path < b.path ? -1 : 1));
  const tops = new Set(sorted.map(({ path }) => path.split("/")[0]));
  const [top] = tops;
  if (sorted.length === 1 && sorted[0].path === top) {
    return { blob: sorted[0].file, file: top, name: nameOf(top.replace(/(\.tar)?\.[^.]*$/, "")), count: 1 };
  }
  const name = nameOf(tops.size === 1 ? top : "images");
  const file = encoder.encode(name).length > NAME_BYTES ? "images.tar" : `${name}.tar`;
  return { blob: new Tar(sorted), file, name, count: sorted.length };
}

// Letters, digits and . _ -, as the service wants names.
export function nameOf(text) {
  const name = text.normalize("NFC").replace(/[^\p{L}\p{M}\p{Decimal_Number}_.-]+/gu, "-").replace(/^[.-]+|[.-]+$/g, "");
  const safe = /^(ds|set)_/.test(name) ? name.replace("_", "-") : name;
  return [...safe].slice(0, 100).join("") || "images";
}

// Files are asked for together: one answer takes a browser milliseconds, and a folder may hold many thousands.
async function walk(entries, onCount, found = []) {
  const files = entries.filter((entry) => !entry.isDirectory);
  for (let first = 0; first < files.length; first += TOGETHER) {
    const before = found.length;
    found.push(...await Promise.all(files.slice(first, first + TOGETHER).map(fileOf)));
    if (Math.trunc(found.length / TOGETHER) > Math.trunc(before / TOGETHER)) onCount?.(found.length);
  }
  for (const folder of entries.filter((entry) => entry.isDirectory)) await walk(await listing(folder), onCount, found);
  return found;
}

async function fileOf(entry) {
  const file = await new Promise((resolve, reject) => { entry.file(resolve, reject); });
  return { path: entry.fullPath.replace(/^\//, ""), file };
}

// A browser names the entries of a folder a hundred at a time, and no more once all are named.
async function listing(folder) {
  const reader = folder.createReader();
  const entries = [];
  for (;;) {
    const some = await new Promise((resolve, reject) => { reader.readEntries(resolve, reject); });
    if (!some.length) return entries;
    entries.push(...some);
  }
}
