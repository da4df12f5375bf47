"""The folder that an archive is unpacked into: which entries it admits, and how much may come out of them."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from ddcore.data.ingest.archives.damage import REPACK, Read
from ddcore.data.ingest.archives.names import fault_of, folded, is_inner_archive, junk, parts_of
from ddcore.errors import DataError

CHUNK = 1 << 18
"""Bytes that are read at once."""

_RATIO_COUNTS_FROM = 64 << 20
_SHOWN = 100


@dataclass(frozen=True)
class Limits:
    """How much may come out of an archive.

    Attributes:
        entries: files and folders.
        total_bytes: of everything, the headers of a tar included.
        entry_bytes: of one file.
        ratio: bytes that come out for each byte of the archive; it counts once more than 64 MB have come out.
    """

    entries: int = 2_000_000
    total_bytes: int = 1 << 40
    entry_bytes: int = 1 << 36
    ratio: int = 200


@dataclass
class Target:
    """The folder that is filled, and what has been counted so far."""

    archive: Path
    into: Path
    limits: Limits
    packed_bytes: int
    counted: Counter[str] = field(default_factory=Counter)
    entries: int = 0
    total: int = 0
    known: dict[str, tuple[str, bool]] = field(default_factory=dict)

    def refuse(self, name: str, what: str, way_out: str = REPACK) -> DataError:
        """Why an entry is refused: what it is or has, and what the user can do."""
        return DataError(f"{self.archive.name}: the entry {_shown(name)} {what}; {way_out}")

    def too_much(self, what: str) -> DataError:
        """Why an archive is refused that is more than the limits allow."""
        return DataError(
            f"{self.archive.name} {what}; send a smaller dataset, or the folder itself in place of an archive"
        )

    def enter(self, name: str, folder: bool) -> Path | None:
        """Admit an entry.

        Returns:
            Where to write it; nothing for a folder, which is made at once, and for a file that is left out.

        Raises:
            DataError: the name is unsafe or clashes with another, or there are too many entries.
        """
        self.entries += 1
        if self.entries > self.limits.entries:
            raise self.too_much(f"holds more than {self.limits.entries:,} entries")
        parts = self._safe(name)
        kind = junk(parts)
        if kind:
            self.counted[kind] += not folder
            return None
        if parts:
            self._register(name, parts, folder)
        path = self.into.joinpath(*parts)
        (path if folder else path.parent).mkdir(mode=0o700, parents=True, exist_ok=True)
        if folder:
            return None
        if not parts:
            raise self.refuse(name, "is a file without a name")
        self.counted.update(["inner archives"] if is_inner_archive(name) else [])
        return path

    def _safe(self, name: str) -> list[str]:
        fault = fault_of(name, str(self.into))
        if fault is not None:
            raise self.refuse(name, *fault)
        return parts_of(name)

    def _register(self, name: str, parts: list[str], folder: bool) -> None:
        """Refuse an entry that would lie where another does, here or on a machine that does not tell cases apart."""
        for depth in range(1, len(parts) + 1):
            path, is_folder = "/".join(parts[:depth]), folder or depth < len(parts)
            key = folded(path)
            if key not in self.known:
                self.known[key] = path, is_folder
                continue
            other, other_is_folder = self.known[key]
            if other != path:
                what = f"and {_shown(other)} differ only in case or in how accents are stored"
                raise self.refuse(name, what, "rename one of them")
            if is_folder != other_is_folder:
                raise self.refuse(name, f"makes {_shown(path)} both a file and a folder")
            if not is_folder:
                raise self.refuse(name, "is there twice", "rename or remove one of them")

    def copy(self, name: str, path: Path | None, read: Read, chunk: int = CHUNK) -> None:
        """Write what comes out of an entry, or count it only.

        Raises:
            DataError: it is more than the limits allow.
        """
        if path is None:
            self._drain(name, read, None, chunk)
            return
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb") as out:
            self._drain(name, read, out, chunk)

    def _drain(self, name: str, read: Read, out: IO[bytes] | None, chunk: int) -> None:
        size = 0
        while data := read(chunk):
            size += len(data)
            if size > self.limits.entry_bytes:
                raise self.refuse(name, f"holds more than {self.limits.entry_bytes:,} bytes", "leave it out")
            if out is not None:
                out.write(data)

    def count(self, size: int) -> None:
        """Count bytes that came out.

        Raises:
            DataError: it is more than the limits allow.
        """
        self.total += size
        if self.total > self.limits.total_bytes:
            raise self.too_much(f"unpacks to more than {self.limits.total_bytes:,} bytes")
        if self.total > _RATIO_COUNTS_FROM and self.total > self.limits.ratio * self.packed_bytes:
            raise self.too_much(
                f"has {self.packed_bytes:,} bytes and unpacks to more than {self.limits.ratio} times as many"
            )


def counting(read: Read, target: Target) -> Read:
    """The same, within the limits."""

    def counted(size: int) -> bytes:
        data = read(size)
        target.count(len(data))
        return data

    return counted


def _shown(name: str) -> str:
    return repr(name if len(name) <= _SHOWN else name[:_SHOWN] + "…")
