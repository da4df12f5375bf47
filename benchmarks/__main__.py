"""Run benchmarks by name, or all of them: ``python -m benchmarks [NAME …] [--rounds N]``."""

from __future__ import annotations

import argparse
import importlib
import pkgutil
from pathlib import Path

import benchmarks
from benchmarks.harness import RESULTS, Benchmark, compare, store, table


def every_benchmark() -> dict[str, Benchmark]:
    """All benchmarks by name: whatever a module of this package lists in ``BENCHMARKS``."""
    found: dict[str, Benchmark] = {}
    for module in pkgutil.iter_modules(benchmarks.__path__):
        if module.name not in ("__main__", "harness"):
            listed = importlib.import_module(f"benchmarks.{module.name}").BENCHMARKS
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
    for name in arguments.names or known:
        benchmark = known[name]
        measurements = compare(benchmark.ways(), arguments.rounds)
        print(table(benchmark, measurements), flush=True)
        store(benchmark, measurements, arguments.results)


if __name__ == "__main__":
    main()
