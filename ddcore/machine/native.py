"""Our own kernels in C++: compiled for this processor when they are first needed, and kept."""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import platform
import subprocess
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

_FLAGS = ("-std=c++17", "-O3", "-march=native", "-fopenmp", "-shared", "-fPIC", "-Wno-psabi")

_kept_in: Path | None = None
"""Where libraries are kept, if they are."""


def keep_native_libraries(folder: Path) -> None:
    """Keep what is compiled from now on in a folder, for this process and others."""
    global _kept_in
    _kept_in = folder


@cache
def native_library(source: Path) -> ctypes.CDLL | None:
    """The functions of a C++ file, or ``None``, with a warning, where the compiler cannot make them.

    Args:
        source: the file; it includes nothing of the framework, so that it compiles in seconds.
    """
    try:
        if _kept_in is not None:
            return _compiled(source, _kept_in)
        with TemporaryDirectory(prefix="ddcore-") as folder:
            return _compiled(source, Path(folder))
    except (OSError, subprocess.CalledProcessError) as error:
        said = error.stderr.strip() if isinstance(error, subprocess.CalledProcessError) else error
        logging.getLogger(__name__).warning("passes are slower, since %s was not compiled: %s", source.name, said)
        return None


def _compiled(source: Path, folder: Path) -> ctypes.CDLL:
    compiler = os.environ.get("CXX", "g++")
    library = folder / f"{source.stem}-{_digest(source, compiler)}.so"
    if not library.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=folder) as own:
            made = Path(own) / library.name
            command = [compiler, *_FLAGS, str(source), "-o", str(made)]
            subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603 - our own file and options
            made.replace(library)  # whole at once: other processes look for it
    return ctypes.CDLL(str(library))


def _digest(source: Path, compiler: str) -> str:
    """Of all that the compiled code depends on: a cache may be shared by machines with other processors."""
    facts = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else [platform.processor()]
    processor = [line for line in facts if line.startswith(("flags", "Features"))][:1] or facts[:1]
    parts = (source.read_text(), compiler, _FLAGS, platform.machine(), processor)
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]
