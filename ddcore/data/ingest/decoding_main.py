"""A process that decodes images for another one; started by :mod:`ddcore.data.ingest.decoding_process`.

It reads pieces from its standard input and writes what becomes of them to its standard output, until nobody sends any.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress

from ddcore.data.ingest import frames
from ddcore.data.ingest.piece import Piece


def main() -> None:
    """Decode until the other side ends."""
    # Whoever presses Ctrl-C means the process that started this one, which then lets go of the pipe.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with os.fdopen(os.dup(1), "wb") as answers:
        # What a library prints must not get between the answers.
        os.dup2(2, 1)
        with suppress(EOFError, BrokenPipeError):
            while True:
                piece: Piece = frames.receive(sys.stdin.buffer)
                frames.send(answers, piece.decode())


if __name__ == "__main__":
    main()
