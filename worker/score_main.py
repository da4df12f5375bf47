"""The scoring process: has a set of others read by another process, trains on it and reports on a pipe.

Started by the supervisor as ``python -m worker.score_main --run-dir DIR --pipe-fd N``. The run folder holds
``spec.json`` and the file, in ``upload/``. It keeps no state: one that is stopped begins anew.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from ddcore.errors import DataError, Interrupted
from ddcore.machine import torch_messages
from ddcore.spec.scoring import check_fields
from worker import child, protocol
from worker.engine_guard import PARENT_VARIABLE, StopRequest
from worker.engine_main import PipeCallback, folder_of, limit_memory
from worker.faults import fault_point
from worker.protocol import READ, FrameWriter

_LOOK_S = 0.05


def main(arguments: Sequence[str] | None = None) -> int:
    """Score what lies in a run folder and return the exit code, see :mod:`worker.protocol`."""
    torch_messages.hide_useless()
    return child.run("worker.score_main", _run, arguments)


def _run(run_dir: Path, writer: FrameWriter, stop: StopRequest) -> None:
    limit_memory(writer)
    callback = PipeCallback(writer, run_dir, stop)
    callback.on_phase("loading", None)
    job = json.loads((run_dir / "spec.json").read_text("utf-8"))
    check_fields(job["recipe"])
    # Importing the engine takes seconds; the signals must be heard meanwhile.
    with child.importing():
        from ddcore.bundle import scoring
        from ddcore.bundle.foreign import stored

    cache = folder_of("DD_CACHE_DIR")
    real = scoring.real_images(job["dataset"], folder_of("DD_DATA_ROOT"), cache)
    folder = run_dir / READ
    folder.mkdir(mode=0o700)
    stored.write_outline(folder, real)
    writer.send(protocol.PhaseStarted(phase="reading", total=None))
    _read_apart(run_dir, writer, stop)
    made = stored.read(folder, real)
    fault_point(f"score.{run_dir.name}.read")
    scored = scoring.score_read(
        made, real, job["recipe"], out=run_dir / "out", cache=cache, backbones=folder_of("DD_BACKBONES_DIR"),
        callback=callback,
    )  # fmt: skip
    writer.send(protocol.Scored(results=scored.results, spec=scored.spec.model_dump(mode="json")))


def _read_apart(run_dir: Path, writer: FrameWriter, stop: StopRequest) -> None:
    """Have the file read by a process that has no network and little memory.

    Raises:
        Interrupted: the supervisor asked for an end.
        SystemExit: it could not be read, and the other process has said why.
        DataError: that process died.
    """
    command = [
        sys.executable, "-m", "worker.read_main", "--run-dir", str(run_dir), "--pipe-fd", str(writer.descriptor),
    ]  # fmt: skip
    # What archives hold is unpacked where it goes with the run folder.
    environment = {**os.environ, PARENT_VARIABLE: str(os.getpid()), "TMPDIR": str(run_dir.resolve())}
    reader = subprocess.Popen(  # noqa: S603 - our own interpreter and module
        command, pass_fds=(writer.descriptor,), stdin=subprocess.DEVNULL, env=environment
    )
    try:
        while (code := reader.poll()) is None:
            if stop.wish is not None:
                raise Interrupted(0, None)
            time.sleep(_LOOK_S)
    finally:
        reader.kill()
        reader.wait()
    if code > 0:
        raise SystemExit(code)
    if code < 0:
        raise DataError(
            f"reading the file ended its process by {signal.Signals(-code).name}: it is damaged, or needs more memory "
            "than there is; store images and labels alone, as an .npz"
        )


if __name__ == "__main__":
    sys.exit(main())
