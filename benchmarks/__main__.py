"""Run benchmarks by name, or all of them: ``python -m benchmarks [NAME …] [--rounds N]``."""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import benchmarks
from benchmarks.harness import RESULTS, Benchmark, measure, store, table


def every_benchmark() -> dict[str, Benchmark]:
    """All benchmarks by name: whatever a module of this package lists in ``BENCHMARKS``, if it does."""
    found: dict[str, Benchmark] = {}
    for module in pkgutil.iter_modules(benchmarks.__path__):
        if module.name != "__main__":
            listed = getattr(importlib.import_module(f"benchmarks.{module.name}"), "BENCHMARKS", ())
            found |= {benchmark.name: benchmark for benchmark in listed}
    return found


def main() -> None:
    known = every_benchmark()
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=benchmarks.__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"some of: {', '.join(known)}; default: all")
    parser.add_argument("--rounds", type=int, default=5, help="rounds in turn (default: 5)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for the result files")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.names if name not in known]
    if unknown or arguments.rounds < 1:
        parser.error(f"unknown benchmark {unknown[0]}" if unknown else "--rounds must be at least 1")
    names = arguments.names or list(known)
    if len(names) > 1:
        _each_in_its_process(names, arguments.rounds, arguments.results)
        return
    (benchmark,) = (known[name] for name in names)
    measurements = measure(benchmark, arguments.rounds)
    print(table(benchmark, measurements), flush=True)
    store(benchmark, measurements, arguments.results)


def _each_in_its_process(names: Sequence[str], rounds: int, results: Path) -> None:
    """What an earlier benchmark leaves in the heap would spare a reference the pages that it has to clear alone."""
    for name in names:
        options = ("--rounds", str(rounds), "--results", str(results))
        subprocess.run([sys.executable, "-m", "benchmarks", name, *options], check=True)


if __name__ == "__main__":
    main()
