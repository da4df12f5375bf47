"""Unpacks archives that strangers sent: nothing leaves the folder, and nothing grows without bound.

Sizes are counted while bytes come out; what an archive says of itself is never believed.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path

from ddcore.data.ingest.archives.compression import COMPRESSED, decompressed
from ddcore.data.ingest.archives.names import UNPACKED as UNPACKED
from ddcore.data.ingest.archives.target import Limits as Limits
from ddcore.data.ingest.archives.target import Target
from ddcore.data.ingest.archives.tars import BLOCK, is_tar, untar
from ddcore.data.ingest.archives.zips import ZIP, unzip
from ddcore.errors import DataError

_TARS = re.compile(r"\.(tar(\.(gz|bz2|xz|zst|zstd))?|tgz|tbz2?|txz|tzst)$", re.IGNORECASE)


def is_archive(path: Path) -> bool:
    """Whether a file is a zip or a tar, compressed or not, by its content.

    A file that begins like one and is named like one counts too, so that its damage can be told. Arrays of NumPy
    (``.npz``) do not count, though they are zips.
    """
    if path.suffix.lower() == ".npz" or not path.is_file():
        return False
    with path.open("rb") as opened:
        head = opened.read(BLOCK)
    if head.startswith(ZIP):
        return path.suffix.lower() == ".zip" or zipfile.is_zipfile(path)
    if head.startswith(COMPRESSED):
        return bool(_TARS.search(path.name)) or _holds_tar(path)
    return is_tar(head) or (path.suffix.lower() == ".tar" and len(head) > 0)


def unpack(archive: Path, into: Path, limits: Limits) -> Mapping[str, int]:
    """Unpack an archive into a folder that is empty or not there yet.

    Only plain files are written, for the owner alone. If anything goes wrong, nothing stays behind.

    Returns:
        How many files of each kind were left out (``{"__MACOSX": 3}``) or left packed (``{"inner archives": 1}``).

    Raises:
        DataError: it is no archive, it is damaged, an entry is hostile or cannot be kept, or a limit is exceeded.
        FileExistsError: the folder is not empty.
        OSError: the disk is full, or another fault of the machine.
    """
    made = not into.exists()
    into.mkdir(parents=True, exist_ok=True)
    if any(into.iterdir()):
        raise FileExistsError(errno.EEXIST, "the folder to unpack into is not empty", str(into))
    try:
        with archive.open("rb") as opened:
            target = Target(archive, into, limits, os.fstat(opened.fileno()).st_size)
            head = opened.read(BLOCK)
            opened.seek(0)
            (unzip if head.startswith(ZIP) else untar)(opened, target)
        (into / UNPACKED).touch(0o600, exist_ok=False)
    except BaseException:
        _empty(into)
        if made:
            into.rmdir()
        raise
    return dict(target.counted)


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _holds_tar(path: Path) -> bool:
    """Whether a compressed file begins with a tar; not whether it is whole."""
    try:
        with path.open("rb") as opened:
            read = decompressed(opened, path)
            head = b""
            while len(head) < BLOCK and (data := read(BLOCK - len(head))):
                head += data
    except DataError:
        return False
    return is_tar(head)
