"""Names of entries: which are safe, which are the same file, and which are left out."""

from __future__ import annotations

import re
import unicodedata

from ddcore.data.ingest.archives.damage import REPACK

UNPACKED = ".unpacked"
"""An empty file of this name lies in the folder of an archive that was unpacked completely."""

_LONGEST_PART = 255
_LONGEST_PATH = 3800
_INNER = re.compile(r"\.(zip|7z|rar|tar|gz|tgz|bz2|tbz2|xz|txz|zst|tzst)$", re.IGNORECASE)
_DRIVE = re.compile(r"[A-Za-z]:")


def parts_of(name: str) -> list[str]:
    """The folders and the file that a name consists of.

    >>> parts_of("./cat//1.png")
    ['cat', '1.png']
    """
    return [part for part in name.split("/") if part not in ("", ".")]


def fault_of(name: str, folder: str) -> tuple[str, str] | None:
    """What is unsafe about a name, and the way out; nothing where it can be written.

    Args:
        name: of an entry, as it is stored.
        folder: where it would be written; it counts for the length of the path.
    """
    if "\0" in name:
        return "has a zero byte in its name", REPACK
    if "\\" in name:
        return "has a backslash in its name", "rename it, or pack it with / between folders"
    if name.startswith("/") or _DRIVE.match(name):
        return "has an absolute path", "pack the folder from inside, with relative paths"
    parts = parts_of(name)
    if ".." in parts:
        return "leads out of its folder (..)", "pack the folder from inside"
    try:
        lengths = [len(part.encode()) for part in parts]
    except UnicodeEncodeError:
        return "has a name that is not UTF-8", "rename it"
    if max(lengths, default=0) > _LONGEST_PART or sum(lengths) + len(lengths) + len(folder) > _LONGEST_PATH:
        return f"has a name longer than {_LONGEST_PART} bytes, or lies too deep", "shorten it"
    return None


def folded(path: str) -> str:
    """What two paths share that are one file on a machine that does not tell cases, or ways to store accents, apart."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())


def junk(parts: list[str]) -> str | None:
    """The kind of a file that systems leave behind; nothing where it is none."""
    if "__MACOSX" in parts:
        return "__MACOSX"
    last = parts[-1] if parts else ""
    if last.startswith("._"):
        return "._*"
    return last if last in (".DS_Store", "Thumbs.db") or parts == [UNPACKED] else None


def is_inner_archive(name: str) -> bool:
    """Whether a file is an archive by its name."""
    return bool(_INNER.search(name))
