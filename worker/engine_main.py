"""The engine process: runs one job with ``ddcore`` and reports on a pipe.

Started by the supervisor as ``python -m worker.engine_main --run-dir DIR --pipe-fd N``. The run folder
holds ``spec.json``; checkpoints, snapshots and the bundle (``out/``) are written there. What it prints goes into the
job's log. Where datasets, caches and weights of others are comes from ``DD_DATA_ROOT``, ``DD_CACHE_DIR`` and
``DD_BACKBONES_DIR``.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from ddcore import registry
from ddcore.errors import Held
from ddcore.machine import torch_messages
from ddcore.runtime.callback import Callback, Phase, Stop
from ddcore.spec import parse
from ddcore.spec.cost import Cost
from ddcore.spec.workload import Usage, Workload
from ddcore.version import __version__
from worker import child, confinement, measuring, protocol
from worker.engine_guard import MEMORY_VARIABLE, StopRequest
from worker.faults import fault_point
from worker.measuring import PhaseClock
from worker.protocol import FrameWriter

_PROGRESS_S = 0.5
"""Least seconds between two progress frames."""

_NEEDED = (
    "ddcore.bundle",
    "ddcore.engine",
    "sklearn.manifold",  # of the audit
    "torch.fx.experimental.symbolic_shapes",  # of the first gradient of a gradient
)
_KINDS = (
    "ddcore.methods",
    "ddcore.nets",
    "ddcore.regularizers",
    "ddcore.runtime.real_batches",
    "ddcore.synthetic.decoders",
)
"""Packages of implementations, all of which are imported for the first job of a kind."""

_log = logging.getLogger(__name__)


class PipeCallback(Callback):
    """Turns what happens in a run into frames.

    Args:
        writer: the pipe.
        run_dir: folder in which snapshots are left.
        stop: what the supervisor asked for.
    """

    def __init__(self, writer: FrameWriter, run_dir: Path, stop: StopRequest) -> None:
        self._writer = writer
        self._snapshots = run_dir / "snapshots"
        self._stop = stop
        self._progress_at = 0.0
        self._clock = PhaseClock()
        self._trained_epochs = 0
        self._workload: Workload | None = None
        self._from_the_start = True
        self.finalized = False

    def on_phase(self, phase: Phase, total: int | None) -> None:
        """Send it, and let the first progress of the phase through."""
        self._progress_at = 0.0
        self._clock.enter(phase)
        if phase == "pretraining":
            self._trained_epochs += total or 0
        self._writer.send(protocol.PhaseStarted(phase=phase, total=total))

    def on_plan(self, cost: Cost, compute: Mapping[str, Any]) -> None:
        """Send what the run is about to do."""
        self._workload = Workload.of(cost, measuring.machine(compute))
        self._writer.send(protocol.Planned(workload=self._workload))

    def on_progress(self, done: int, total: int) -> None:
        """Send it unless the last one is fresh; the end of a phase is always sent."""
        fault_point("engine.step")
        self._clock.advance(done, total)
        now = time.monotonic()
        if done >= total or now - self._progress_at >= _PROGRESS_S:
            self._progress_at = now
            self._writer.send(protocol.Progress(done=done, total=total))

    def on_metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Send the readings with the time."""
        self._writer.send(protocol.Metrics(step=step, wall_ms=time.time_ns() // 1_000_000, values=dict(values)))

    def on_snapshot(self, step: int, png: bytes) -> None:
        """Leave the picture in the run folder and send its name."""
        name = f"{step:010d}.png"
        self._snapshots.mkdir(exist_ok=True)
        (self._snapshots / name).write_bytes(png)
        self._writer.send(protocol.Snapshot(step=step, name=name))

    def on_checkpoint(self, step: int, path: Path, sha256: str) -> None:
        """Send the file's name."""
        fault_point("engine.checkpoint")
        self._writer.send(protocol.CheckpointSaved(step=step, name=path.name, sha256=sha256))

    def on_resumed(self, step: int, exact: bool) -> None:
        """Send it; what the run takes from here says nothing about a whole one."""
        self._from_the_start = False
        self._writer.send(protocol.Resumed(step=step, exact=exact))

    def on_log(self, level: Literal["info", "warning"], message: str) -> None:
        """Send it."""
        self._writer.send(protocol.Log(level=level, message=message))

    def usage(self) -> Usage | None:
        """What the run took, where it was a whole one."""
        if self._workload is None or self.finalized or not self._from_the_start:
            return None
        seconds, warm_up = self._clock.read()
        on_cpu = self._workload.machine.device_class == "cpu"
        peak = measuring.memory_so_far() if on_cpu else _accelerator_memory()
        return Usage(
            workload=self._workload, seconds=seconds, warm_up=warm_up, trained_epochs=self._trained_epochs,
            peak_bytes=peak,
        )  # fmt: skip

    def should_stop(self) -> Stop | None:
        """What the last signal asked for."""
        self.finalized = self.finalized or self._stop.wish is Stop.FINALIZE
        return self._stop.wish


def _accelerator_memory() -> int:
    """Most bytes of an accelerator that this process has reserved for tensors until now."""
    import torch  # Importing it takes seconds, and only a run on an accelerator asks.

    return int(torch.cuda.max_memory_reserved())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the job of a run folder and return the exit code, see :mod:`worker.protocol`."""
    torch_messages.hide_useless()
    return child.run("worker.engine_main", _run, arguments)


def preload() -> None:
    """Import what runs need, also what they come to later."""
    torch_messages.hide_useless()
    with child.importing():
        for name in _NEEDED:
            importlib.import_module(name)
        for package in _KINDS:
            registry.import_all(package)


def _run(run_dir: Path, writer: FrameWriter, stop: StopRequest) -> None:
    limit_memory(writer)
    callback = PipeCallback(writer, run_dir, stop)
    _log.info("ddcore %s runs %s", __version__, run_dir.parent.name)
    callback.on_phase("loading", None)
    spec = parse(json.loads((run_dir / "spec.json").read_text("utf-8")))
    # Importing the engine takes seconds; the signals above must be heard meanwhile.
    with child.importing():
        from ddcore import bundle, engine

    try:
        result = engine.run(
            spec, run_dir / "out", run_dir=run_dir, data_root=folder_of("DD_DATA_ROOT"),
            cache=folder_of("DD_CACHE_DIR"), backbones=folder_of("DD_BACKBONES_DIR"), parent=_parent(run_dir),
            callback=callback, hold_at=_hold_at(run_dir),
        )  # fmt: skip
    except Held as held:
        writer.send(protocol.Held(step=held.step))
        raise
    bundle.export_zip(result.out, run_dir / "bundle.zip")
    bundle.export_npz(result.out, run_dir / "distilled.npz")
    bundle.export_imagefolder(result.out, run_dir / "image_folder.zip")
    writer.send(
        protocol.Done(steps=result.steps, finalized=callback.finalized, results=result.results, usage=callback.usage())
    )


def limit_memory(writer: FrameWriter) -> None:
    """Have the process end by itself before it takes the machine's memory from others.

    It is not a limit of the system (``RLIMIT_AS``), which counts addresses: CUDA reserves more of them than there is
    memory. Should the system run short all the same, it is to take this process and not the worker.
    """
    confinement.prefer_for_killing()
    most = os.environ.get(MEMORY_VARIABLE)
    if most is not None:
        confinement.watch_memory(int(most), lambda: child.give_up_distilling(writer, int(most)))


def _hold_at(run_dir: Path) -> int | None:
    """Steps after which the run is to be held, where it is."""
    file = run_dir / protocol.HOLD_AT
    return int(file.read_text("ascii")) if file.exists() else None


def _parent(run_dir: Path) -> Path | None:
    """The bundle that the job extends, where the worker has brought one."""
    folder = run_dir / protocol.PARENT
    return folder if folder.is_dir() else None


def folder_of(variable: str) -> Path | None:
    """The folder that an environment variable names."""
    value = os.environ.get(variable)
    return Path(value) if value else None


if __name__ == "__main__":
    sys.exit(main())
