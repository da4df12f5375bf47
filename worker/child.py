"""What every child process of a worker does: it reads its run folder, works, and reports on a pipe.

Started as ``python -m <module> --run-dir DIR --pipe-fd N``.
"""

from __future__ import annotations

import argparse
import faulthandler
import gc
import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ddcore.errors import (
    CheckpointError,
    ConfigurationError,
    DataError,
    DistillationError,
    Interrupted,
    OutOfMemoryError,
)
from ddcore.machine.imports import uncollected
from ddcore.machine.space import is_full
from ddcore.spec import SpecError
from worker import protocol
from worker.engine_guard import StopRequest, die_with_parent
from worker.protocol import FrameWriter

_LONGEST_MESSAGE = 10_000

_log = logging.getLogger(__name__)

Act = Callable[[Path, FrameWriter, StopRequest], None]
"""What the process does with its run folder, its pipe and the wishes of its supervisor."""


def run(module: str, act: Act, arguments: Sequence[str] | None = None) -> int:
    """Do the work of a run folder and return the exit code, see :mod:`worker.protocol`.

    Args:
        module: name of the module that was started.
        act: the work; errors that it raises are reported.
        arguments: of the command line, without the program.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {module}")
    parser.add_argument("--run-dir", type=Path, required=True, help="folder with spec.json")
    parser.add_argument("--pipe-fd", type=int, required=True, help="descriptor on which frames are written")
    options = parser.parse_args(arguments)
    die_with_parent()
    stop = StopRequest()
    stop.listen()
    faulthandler.enable()
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    writer = FrameWriter(options.pipe_fd)
    try:
        act(options.run_dir, writer, stop)
    except BrokenPipeError:
        return protocol.EXIT_FAILED  # nobody is left to tell
    except Interrupted as error:
        _log.info("%s", error)
        return protocol.EXIT_PREEMPTED
    except Exception as error:
        _log.exception("the run failed")
        code, failed = report(error)
        writer.send(failed)
        return code
    return protocol.EXIT_DONE


@contextmanager
def importing() -> Iterator[None]:
    """Import the engine's modules without looking for garbage among what they make, then or later.

    All of it stays until the process ends. Looking through it takes 0.3 s of the 2.5 s that the imports take.
    """
    try:
        with uncollected():
            yield
    finally:
        gc.freeze()


def report(error: Exception) -> tuple[int, protocol.Failed]:
    """Exit code and final frame of a run that ended in an error.

    Only errors made for users are shown to them; anything else is named as a fault of ours, with the
    details in the log.
    """
    if isinstance(error, OutOfMemoryError | MemoryError):
        message = str(error) or "the machine ran out of memory; use a smaller `ipc`, network or batch"
        return protocol.EXIT_OUT_OF_MEMORY, _failed(OutOfMemoryError.code, message, True)
    if isinstance(error, SpecError):
        return protocol.EXIT_BAD_SPEC, _failed("bad_spec", str(error), False)
    if isinstance(error, ConfigurationError):
        return protocol.EXIT_BAD_SPEC, _failed(error.code, str(error), False)
    if isinstance(error, DataError):
        return protocol.EXIT_DATA_ERROR, _failed(error.code, str(error), False)
    if isinstance(error, CheckpointError | DistillationError):
        return protocol.EXIT_FAILED, _failed(error.code, str(error), error.retryable)
    if isinstance(error, OSError):
        code = "no_space" if is_full(error) else "io_error"
        reason = error.strerror or type(error).__name__
        return protocol.EXIT_FAILED, _failed(code, f"reading or writing files failed: {reason}", True)
    message = f"the engine failed unexpectedly ({type(error).__name__}); the job's log has the details"
    return protocol.EXIT_FAILED, _failed("internal_error", message, False)


def give_up(writer: FrameWriter, doing: str, most_bytes: int) -> None:
    """End an ingest, whatever it is doing, because it needs more memory than it may have.

    Args:
        writer: is told why.
        doing: what needs the memory, in words.
        most_bytes: that it may have.
    """
    message = (
        f"{doing} needs more than {most_bytes / 1e9:g} GB of memory (DD_INGEST_MEMORY_GB); split files of many "
        "gigabytes into smaller ones"
    )
    _end_for_memory(writer, message, retryable=False)


def give_up_distilling(writer: FrameWriter, most_bytes: int) -> None:
    """End an engine, whatever it is doing, because it needs more memory than it may have; it is tried once more."""
    message = (
        f"the job needs more than {most_bytes / 1e9:.3g} GB of main memory (DD_ENGINE_MEMORY_GB); use a smaller `ipc`, "
        "network or batch, or a worker with more"
    )
    _end_for_memory(writer, message, retryable=True)


def _end_for_memory(writer: FrameWriter, message: str, *, retryable: bool) -> None:
    writer.send(_failed("out_of_memory", message, retryable))
    os._exit(protocol.EXIT_OUT_OF_MEMORY)


def _failed(code: str, message: str, retryable: bool) -> protocol.Failed:
    return protocol.Failed(code=code, message=message[:_LONGEST_MESSAGE], retryable=retryable)
