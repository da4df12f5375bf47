"""The process that opens the file of a set which others made: confined, and gone before anything is trained on.

Started by the scoring process as ``python -m worker.read_main --run-dir DIR --pipe-fd N``. The run folder holds
``spec.json``, the file in ``upload/``, and in ``read/`` what the dataset looks like; the set is written there as plain
tensors. What is wrong with the file is said on the pipe of the scoring process.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from ddcore.data.ingest import decoding_process
from worker import child, confinement
from worker.engine_guard import StopRequest
from worker.faults import fault_point
from worker.protocol import READ, UPLOAD, FrameWriter

_log = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the file of a run folder and return the exit code, see :mod:`worker.protocol`."""
    if not confinement.without_network():
        _log.warning("this system cannot keep a process from the network")
    return child.run("worker.read_main", _run, arguments)


def _run(run_dir: Path, writer: FrameWriter, stop: StopRequest) -> None:  # noqa: ARG001 - one signature for all
    job = json.loads((run_dir / "spec.json").read_text("utf-8"))
    most, unpacked = job["limits"]["memory_bytes"], job["limits"]["unpacked_bytes"]
    confinement.limit_files(unpacked)
    confinement.watch_memory(most, lambda: child.give_up(writer, "reading the file", most), decoding_process.running)
    # Messages then name files as the user does, and not where they lie here.
    os.chdir(run_dir / UPLOAD)
    fault_point("score.reading")
    with child.importing():
        from ddcore.bundle import foreign
        from ddcore.bundle.foreign import stored
        from ddcore.data.ingest.archives import Limits

    folder = Path("..") / READ
    outline = stored.read_outline(folder)
    made = foreign.read(Path(job["file"]), outline, job["values"], limits=Limits(total_bytes=unpacked))
    stored.write(folder, made)


if __name__ == "__main__":
    sys.exit(main())
