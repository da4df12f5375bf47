"""What a job is said to cost after one job of its kind, against what it costs: ``python -m benchmarks.estimates``.

Every ``quick`` preset runs twice, one job at a time, through an embedded service with an empty state folder. Before
each run the service is asked for its estimate: the first has nothing of its kind to go by, the second has one job.
Seconds are those of running, memory is that of the engine's process; both as the service recorded them.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import time
from collections.abc import Mapping
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.harness import RESULTS, machine
from ddclient.client import Client
from ddclient.embedded import Service
from ddcore.spec.presets import all_presets

LONGEST_S = 3600.0
OTHERS: Mapping[str, Mapping[str, Any]] = {
    "dm-cifar10": {
        "dataset": "cifar10",
        "ipc": 1,
        "method": {"name": "dm", "iterations": 20},
        "evaluation": {"repeats": 1, "epochs": 20},
    }
}
"""Jobs beside the presets, which are all on the digits."""


def measure(client: Client, home: Path, spec: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Two runs of a job: what was said before each, and what it took."""
    runs = []
    for _ in range(2):
        said = client.validate(spec)["estimate"]
        began = time.monotonic()
        job = client.submit(spec)
        job.wait(timeout=LONGEST_S)
        if job.status != "succeeded":
            raise SystemExit(f"{job.id} of {spec} is {job.status}")
        seconds, peak = _recorded(home)
        runs.append(
            {
                "said": {name: round(said["seconds"]["cpu"][name], 2) for name in ("low", "expected", "high")},
                "basis": said["seconds"]["cpu"]["basis"],
                "said_bytes": said["peak_bytes"]["cpu"],
                "seconds": round(sum(seconds.values()), 2),
                "phases": {name: round(value, 2) for name, value in seconds.items()},
                "peak_bytes": peak,
                "with_queue_s": round(time.monotonic() - began, 2),
            }
        )
    return runs


def _recorded(home: Path) -> tuple[dict[str, float], int]:
    """Seconds by phase and most memory of the last job."""
    with closing(sqlite3.connect(home / "ddservice.sqlite3")) as database:
        row = database.execute("SELECT phases, peak_bytes FROM measured_jobs ORDER BY number DESC LIMIT 1").fetchone()
    return {name: phase["seconds"] for name, phase in json.loads(row[0]).items()}, int(row[1])


def _line(name: str, runs: list[dict[str, Any]]) -> str:
    first, second = runs
    time_off, memory_off = second["said"]["expected"] / second["seconds"], second["said_bytes"] / second["peak_bytes"]
    said = f"said before the second {second['said']['expected']} s (x {time_off:.2f}), memory x {memory_off:.2f}"
    return f"{name}: {first['seconds']} s and {second['seconds']} s; {said}; first {first['said']['expected']} s"


def main() -> None:
    known = {
        name.removeprefix("quick/"): {"preset": name} for name in all_presets() if name.startswith("quick/")
    } | dict(OTHERS)
    parser = argparse.ArgumentParser(prog="python -m benchmarks.estimates", description=__doc__)
    parser.add_argument("jobs", nargs="*", metavar="JOB", help=f"some of: {', '.join(known)}; default: all")
    parser.add_argument("--data-root", type=Path, help="folder of the datasets, for CIFAR-10")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.jobs if name not in known]
    if unknown:
        parser.error(f"there is no job {', '.join(unknown)}; choose from {', '.join(known)}")
    path = RESULTS / "quality" / "estimates.json"
    with TemporaryDirectory(prefix="estimates-") as folder:
        service = Service(Path(folder), port=0, data_root=arguments.data_root, isolated=True)
        service.start()
        try:
            with Client(service.url, service.api_key) as client:
                for name in arguments.jobs or known:
                    runs = measure(client, Path(folder), known[name])
                    print(_line(name, runs), flush=True)
                    document = json.loads(path.read_text()) if path.exists() else {"jobs": {}}
                    document["jobs"][name] = {
                        "runs": runs,
                        "command": "python -m benchmarks.estimates",
                        "date": datetime.now(UTC).isoformat(timespec="seconds"),
                        "machine": machine(),
                    }
                    path.write_text(json.dumps(document) + "\n")
        finally:
            service.stop()


if __name__ == "__main__":
    main()
