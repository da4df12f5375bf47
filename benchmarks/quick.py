"""Every ``quick`` preset on the digits, against the images it starts from: ``python -m benchmarks.quick [PRESET …]``.

Minutes are those of a whole job with an empty cache, in a process that has run others before. Starting images are
scored by the recipe of the job, whose random control is beside; a coreset is what its rule chooses, and starts nowhere.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from typing_extensions import override

import ddcore
from benchmarks.harness import RESULTS, machine
from ddcore.runtime.callback import Callback, Phase, Stop
from ddcore.spec import CoresetConfig, JobSpec
from ddcore.spec.presets import all_presets


class FinishAtTheStart(Callback):
    """Asks for the images as they are as soon as there are some."""

    def __init__(self) -> None:
        self._phase: Phase = "validating"

    @override
    def on_phase(self, phase: Phase, total: int | None) -> None:
        self._phase = phase

    @override
    def should_stop(self) -> Stop | None:
        return Stop.FINALIZE if self._phase == "distilling" else None


def measure(spec: JobSpec) -> dict[str, Any]:
    """Seconds of a job, and accuracies in percent: of its images, its random control, and its starting images."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        start = time.perf_counter()
        result = ddcore.run(spec, folder / "out", run_dir=folder / "run", cache=folder / "cache")
        measured: dict[str, Any] = {
            "seconds": round(time.perf_counter() - start, 1),
            "accuracy": result.results["accuracy"],
            "random": result.results["controls"].get("random"),
        }
        if not isinstance(spec.method, CoresetConfig):
            begun, cache = folder / "start", folder / "cache"
            ddcore.run(spec, begun, run_dir=folder / "begun", cache=cache, callback=FinishAtTheStart())
            measured["start"] = ddcore.train_on(begun, cache=cache)["accuracy"]
        return measured


def _line(name: str, measured: Mapping[str, Any]) -> str:
    def score(which: str) -> str:
        found = measured.get(which)
        return f"{which} {found['mean']:.1f} +- {found['std']:.1f}" if found else f"no {which}"

    return f"{name}: {measured['seconds']} s, {score('accuracy')}, {score('start')}, {score('random')}"


def main() -> None:
    known = [name.removeprefix("quick/") for name in all_presets() if name.startswith("quick/")]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quick", description=__doc__)
    parser.add_argument("presets", nargs="*", metavar="PRESET", help=f"some of: {', '.join(known)}; default: all")
    arguments = parser.parse_args()
    path = RESULTS / "quality" / "quick.json"
    for name in arguments.presets or known:
        measured = measure(ddcore.parse({"preset": f"quick/{name}"}))
        print(_line(name, measured), flush=True)
        document = json.loads(path.read_text()) if path.exists() else {"presets": {}}
        document["presets"][name] = {
            **measured,
            "command": f"python -m benchmarks.quick {name}",
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": machine(),
        }
        path.write_text(json.dumps(document) + "\n")


if __name__ == "__main__":
    main()
