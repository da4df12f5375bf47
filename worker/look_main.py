"""The process that looks at files in the data root before a job names them: fit for jobs, or why not.

Started as ``python -m worker.look_main --run-dir DIR --pipe-fd N``. It loads the set as a job would, which leaves it
in the cache for the first job, and writes ``facts.json``.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from ddcore.data.ingest import decoding_process
from worker import child, confinement
from worker.engine_guard import StopRequest
from worker.protocol import FACTS, FrameWriter

_NICENESS = 10
"""Jobs go first."""

_log = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Look at what a run folder names and return the exit code, see :mod:`worker.protocol`."""
    if not confinement.without_network():
        _log.warning("this system cannot keep a process from the network")
    os.nice(_NICENESS)
    return child.run("worker.look_main", _run, arguments)


def _run(run_dir: Path, writer: FrameWriter, stop: StopRequest) -> None:  # noqa: ARG001 - one signature for all
    job = json.loads((run_dir / "spec.json").read_text("utf-8"))
    most = job["memory_bytes"]
    confinement.watch_memory(most, lambda: child.give_up(writer, "reading the files", most), decoding_process.running)
    cache = Path(os.environ["DD_CACHE_DIR"]).resolve()
    # Messages then name files as the user does, and not where they lie here.
    os.chdir(os.environ["DD_DATA_ROOT"])
    with child.importing():
        from ddcore.data import load
        from ddcore.spec import DatasetFacts

    found = load(job["dataset"], Path(), cache)
    facts = DatasetFacts(
        name=found.name,
        title=found.name,
        shape=found.train.shape,
        classes=found.train.classes,
        train_size=len(found.train),
        smallest_class=min(found.train.class_counts),
        mean=tuple(found.mean),
        std=tuple(found.std),
        flip=found.flip,
        download=False,
        test_size=len(found.test),
    )
    (run_dir / FACTS).write_text(json.dumps(asdict(facts)), "utf-8")


if __name__ == "__main__":
    sys.exit(main())
