"""Published presets run to their end, beside their figure: ``python -m benchmarks.ledger PRESET … --cache DIR``.

A run keeps its state in the cache, so the same command goes on with it, in as many sittings as it takes. ``--minutes``
ends a sitting at a checkpoint. ``--as-it-is`` scores the images of the last one, by the recipe of the preset; what is
stored then says how many of the steps were taken. ``--table`` prints what is stored.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from typing_extensions import override

from benchmarks.harness import RESULTS, machine, peak_mib
from benchmarks.quality import Recorder
from ddcore import engine
from ddcore.bundle.reproduce import train_on
from ddcore.errors import Interrupted
from ddcore.runtime.callback import Phase, Stop
from ddcore.spec import parse
from ddcore.spec.presets import Preset, all_presets
from ddcore.spec.results import Score

LEDGER = RESULTS / "ledger"
TELL_S = 60.0
"""Seconds between two lines about how far a run is."""


class Sitting(Recorder):
    """One sitting of a run: it ends at a checkpoint when its time is over, or with the images as they are.

    Args:
        minutes: that it may last, to the next unit of work; without a limit by default.
        as_it_is: whether the images are taken as the last checkpoint has them.
    """

    def __init__(self, minutes: float = math.inf, *, as_it_is: bool = False) -> None:
        super().__init__()
        self._told = time.monotonic()
        self._until = self._told + 60 * minutes
        self._as_it_is = as_it_is
        self._phase: Phase = "validating"

    @override
    def on_phase(self, phase: Phase, total: int | None) -> None:
        super().on_phase(phase, total)
        self._phase = phase

    @override
    def on_progress(self, done: int, total: int) -> None:
        if (now := time.monotonic()) - self._told >= TELL_S:
            print(f"{self._phase} {done:,} of {total:,}", flush=True)
            self._told = now

    @override
    def should_stop(self) -> Stop | None:
        if self._as_it_is and self._phase == "distilling":
            return Stop.FINALIZE
        return Stop.CHECKPOINT if time.monotonic() > self._until else None


class Sittings:
    """The minutes of the sittings of a run so far, beside its state."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "sittings.json"

    def add(self, minutes: Mapping[str, float]) -> None:
        """Note one that has ended."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.write_text(json.dumps([*self.all(), dict(minutes)]))

    def all(self) -> list[dict[str, float]]:
        """Minutes of each phase, sitting by sitting."""
        found: list[dict[str, float]] = json.loads(self._path.read_text()) if self._path.exists() else []
        return found

    def together(self) -> dict[str, float]:
        """Minutes of each phase, all sittings together."""
        phases = dict.fromkeys(phase for sitting in self.all() for phase in sitting)
        return {phase: round(sum(sitting.get(phase, 0) for sitting in self.all()), 2) for phase in phases}


def run(preset: Preset, cache: Path, sitting: Sitting) -> dict[str, Any] | None:
    """Go on with a preset; what to store of it, or ``None`` where the sitting ended before the run did."""
    spec = parse({"preset": preset.name})
    folder, root = cache / "ledger" / preset.name.replace("/", "_"), os.environ.get("DD_DATA_ROOT")
    data_root, sittings = None if root is None else Path(root), Sittings(folder)

    def work() -> engine.Result:
        shutil.rmtree(folder / "out", ignore_errors=True)
        return engine.run(
            spec, folder / "out", run_dir=folder / "run", data_root=data_root, cache=cache, callback=sitting
        )

    try:
        result, memory = peak_mib(work)
        results = result.results
        if results.accuracy is None:
            results = train_on(folder / "out", data_root=data_root, cache=cache)
    except Interrupted:
        return None
    finally:
        sitting.on_phase("finalizing", None)
        sittings.add(sitting.wall.minutes())
    return {
        "preset": preset.name,
        "published": None if preset.published is None else preset.published.model_dump(),
        "accuracy": results["accuracy"],
        "random": results["controls"].get("random"),
        "steps": {"taken": result.steps, "of": spec.method.iterations},
        "minutes": sittings.together(),
        "sittings": len(sittings.all()),
        "peak_mib": round(memory),
        "command": f"python -m benchmarks.ledger {preset.name} --cache CACHE",
        "machine": machine(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def stored() -> Iterator[dict[str, Any]]:
    """What the ledger holds, by the name of the preset."""
    for path in sorted(LEDGER.glob("*.json")):
        yield json.loads(path.read_text())


def figure(accuracy: float, std: float | None, **_: Any) -> str:
    """A published figure as its paper prints it, in percent."""
    return f"{accuracy:.1f}" + (f" ± {std:.1f}" if std else "")


def table() -> str:
    """The ledger as Markdown."""
    lines = ["| preset | published | measured here | steps | minutes |", "|---|---|---|---|---|"]
    for entry in stored():
        measured, steps = Score.model_validate(entry["accuracy"]), entry["steps"]
        said = figure(**entry["published"]) if entry["published"] else ""
        taken = f"{steps['taken']:,}" if steps["taken"] == steps["of"] else f"{steps['taken']:,} of {steps['of']:,}"
        cells = (f"`{entry['preset']}`", said, f"{measured.mean:.1f} ± {measured.std:.1f}", taken)
        lines.append(f"| {' | '.join(cells)} | {entry['minutes']['whole']:.0f} |")
    return "\n".join(lines)


def main() -> None:
    known = [name for name in all_presets() if name.startswith("paper/")]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ledger", description=__doc__)
    parser.add_argument("presets", nargs="*", metavar="PRESET", help="such as paper/dc-mnist-ipc1")
    parser.add_argument("--cache", type=Path, help="folder for decoded data, teachers and the state of runs")
    parser.add_argument("--minutes", type=float, default=math.inf, help="that this sitting may last")
    parser.add_argument("--as-it-is", action="store_true", help="score the images of the last checkpoint")
    parser.add_argument("--table", action="store_true", help="print what is stored, and run nothing")
    arguments = parser.parse_args()
    if arguments.table:
        print(table())
        return
    unknown = [name for name in arguments.presets if name not in known]
    if unknown or not arguments.presets or arguments.cache is None:
        parser.error(f"name presets of papers, and a --cache; unknown: {', '.join(unknown) or '-'}")
    until = time.monotonic() + 60 * arguments.minutes
    for name in arguments.presets:
        sitting = Sitting((until - time.monotonic()) / 60, as_it_is=arguments.as_it_is)
        entry = run(all_presets()[name], arguments.cache, sitting)
        if entry is None:
            print(f"{name}: the time is over; the same command goes on", flush=True)
            return
        LEDGER.mkdir(exist_ok=True)
        (LEDGER / f"{name.replace('/', '_')}.json").write_text(json.dumps(entry, indent=1) + "\n")
        score = Score.model_validate(entry["accuracy"])
        print(f"{name}: {score.mean:.1f} ± {score.std:.1f}, {entry['minutes']['whole']} min", flush=True)


if __name__ == "__main__":
    main()
