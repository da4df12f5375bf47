"""Processes that decode images beside this one, because Python decodes one image at a time in each."""

from __future__ import annotations

import os
import subprocess
import sys
import weakref
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, cast

import ddcore
from ddcore.data.ingest import frames
from ddcore.data.ingest.piece import Decoded, Piece
from ddcore.errors import DecodingLostError

_MODULE = "ddcore.data.ingest.decoding_main"
_MARGIN = 60.0


class DecodingProcess:
    """One such process, which works on one piece at a time.

    Not of :mod:`multiprocessing`: that runs the caller's main module once more in each process, which a script without
    a guard does not survive. What confines this process confines that one, too. It ends with this one, as nobody then
    holds the other end of its pipe.
    """

    def __init__(self) -> None:
        # -P: the working directory may be a stranger's upload, from which no module may be imported.
        self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            [sys.executable, "-P", "-m", _MODULE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=_environment()
        )
        _running.add(self)

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid

    def decode(self, piece: Piece) -> Decoded:
        """What becomes of a piece.

        Raises:
            DecodingLostError: the process has ended, by a fault of a decoder or for lack of memory.
        """
        try:
            frames.send(cast("BinaryIO", self._process.stdin), piece)
            decoded: Decoded = frames.receive(cast("BinaryIO", self._process.stdout))
        except (BrokenPipeError, EOFError) as error:
            code = self._process.wait(_MARGIN)
            places = f"{min(piece.images)} to {max(piece.images)}"
            raise DecodingLostError(
                f"the process that decoded images {places} of a file or folder ended with code {code} (negative: the "
                "signal that ended it), for lack of memory or by a fault of a decoder"
            ) from error
        return decoded

    def end(self) -> None:
        """End it, whatever it is doing."""
        _running.discard(self)
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):  # a piece that it has not read
                    pipe.close()


_running: weakref.WeakSet[DecodingProcess] = weakref.WeakSet()


def running() -> list[int]:
    """Numbers of the processes that decode for this one now, for whoever counts its memory."""
    return [process.pid for process in list(_running)]


def _environment() -> dict[str, str]:
    """That of this process, so that the same modules are found, with one thread for mathematics."""
    here = str(Path(ddcore.__file__).resolve().parents[1])
    paths = dict.fromkeys(path for path in (*sys.path, here) if Path(path).is_absolute())
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
