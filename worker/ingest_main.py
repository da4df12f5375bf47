"""The ingest process: takes a user's own images in as a set, and reports on a pipe.

Started by the supervisor as ``python -m worker.ingest_main --run-dir DIR --pipe-fd N``. The run folder holds
``spec.json`` and the upload, in ``upload/``; the set is written to ``shelf/``, with a picture of its samples.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ddcore.data.ingest import decoding_process
from ddcore.errors import DataError, Interrupted
from ddcore.spec.ingest import IngestOptions
from worker import child, confinement, protocol
from worker.engine_guard import StopRequest
from worker.faults import fault_point
from worker.protocol import SAMPLES, SHELF, UPLOAD, FrameWriter

if TYPE_CHECKING:
    from torch import Tensor

_SAMPLES_PER_CLASS = 8
_PROGRESS_S = 0.5

_log = logging.getLogger(__name__)


class QuotaError(DataError):
    """The set would be larger than the tenant may have."""

    code = "quota_exceeded"


def main(arguments: Sequence[str] | None = None) -> int:
    """Take in what lies in a run folder and return the exit code, see :mod:`worker.protocol`."""
    if not confinement.without_network():
        _log.warning("this system cannot keep a process from the network")
    return child.run("worker.ingest_main", _run, arguments)


def _run(run_dir: Path, writer: FrameWriter, stop: StopRequest) -> None:
    writer.send(protocol.PhaseStarted(phase="reading", total=None))
    job = json.loads((run_dir / "spec.json").read_text("utf-8"))
    limits = job["limits"]
    confinement.limit_files(limits["file_bytes"])
    most = limits["memory_bytes"]
    confinement.watch_memory(
        most, lambda: child.give_up(writer, "taking the images in", most), decoding_process.running
    )
    # Messages then name files as the user does, and not where they lie here.
    os.chdir(run_dir / UPLOAD)
    try:
        identity = _take_in(job, Path("..") / SHELF, _Told(writer, stop, run_dir.name))
    except OSError as error:
        if error.errno != errno.EFBIG:
            raise
        raise QuotaError(
            f"the set would have more than the {limits['file_bytes']:,} bytes that are left of your quota; take it in "
            "at a smaller `size`, or delete sets that you no longer need"
        ) from error
    writer.send(protocol.TakenIn(identity=identity))


def _take_in(job: Mapping[str, Any], shelf: Path, told: _Told) -> str:
    # Importing the engine takes seconds; the signals must be heard meanwhile.
    with child.importing():
        from ddcore.bundle.preview import preview_png
        from ddcore.data.ingest.archives import Limits
        from ddcore.data.ingest.intake import take_in

    found = take_in(
        Path(job["file"]),
        shelf,
        name=job["dataset"],
        options=IngestOptions.model_validate(job["options"]),
        progress=told,
        limits=Limits(total_bytes=job["limits"]["unpacked_bytes"]),
    )
    train = found.train
    first = [row for number in range(len(train.classes)) for row in _first_of(train.labels == number)]
    sheet = preview_png(train.images[first].float() / 255, train.labels[first], train.classes, _SAMPLES_PER_CLASS)
    (shelf / SAMPLES).write_bytes(sheet)
    return found.report.id


def _first_of(members: Tensor) -> list[int]:
    """Rows of the first members of a class."""
    rows: list[int] = members.nonzero().flatten()[:_SAMPLES_PER_CLASS].tolist()
    return rows


class _Told:
    """Passes progress on, and ends the work where that is wished."""

    def __init__(self, writer: FrameWriter, stop: StopRequest, fence: str) -> None:
        self._writer, self._stop, self._fence = writer, stop, fence
        self._said_at: float | None = None

    def __call__(self, done: int, total: int) -> None:
        """So many images of so many are decoded.

        Raises:
            Interrupted: the supervisor asked for an end.
        """
        fault_point(f"ingest.{self._fence}.progress")
        if self._stop.wish is not None:
            raise Interrupted(0, None)
        now = time.monotonic()
        if self._said_at is None:
            self._writer.send(protocol.PhaseStarted(phase="decoding", total=total))
        if self._said_at is None or done >= total or now - self._said_at >= _PROGRESS_S:
            self._said_at = now
            self._writer.send(protocol.Progress(done=done, total=total))


if __name__ == "__main__":
    sys.exit(main())
