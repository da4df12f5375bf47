"""The tables of docs/methods.md that stored results fill: ``python -m benchmarks.report STUDY``."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from statistics import mean, stdev
from typing import Any

from benchmarks.harness import RESULTS
from benchmarks.studies import STUDIES
from ddcore.spec.presets import all_presets

COLUMNS = ("published", "measured", "random images", "steps", "minutes of a core", "memory (MiB)")
NAME = re.compile(r"(\w+) ipc (\d+) (\S+)")


@dataclass(frozen=True)
class Row:
    """The jobs of one method on one dataset that differ in the seed.

    Attributes:
        name: what their names begin with, such as ``cifar10 ipc 1 dm``.
        jobs: their stored results, at least one.
    """

    name: str
    jobs: Sequence[Mapping[str, Any]]

    def line(self) -> str:
        """The row in Markdown."""
        first = self.jobs[0]
        cells = (
            f"`'{self.name} seed'`",
            self.published(),
            _spread([job["accuracy"]["mean"] for job in self.jobs]),
            _spread([job["random"]["mean"] for job in self.jobs if job["random"]]),
            f"{first['job']['method']['iterations']:,}",
            _span([job["core_minutes"]["distilling"] for job in self.jobs]),
            f"{max(job['peak_mib'] for job in self.jobs):,}",
        )
        return f"| {' | '.join(cells)} |"

    def published(self) -> str:
        """What the preset of this method, dataset and number of images expects; empty where there is none."""
        preset = all_presets().get(NAME.sub(r"paper/\3-\1-ipc\2", self.name))
        if preset is None or preset.expected is None:
            return ""
        return _with_deviation(preset.expected.accuracy, preset.expected.std)


def rows(study: str) -> Iterator[Row]:
    """Of a study, as far as it is stored."""
    stored: dict[str, Any] = json.loads((RESULTS / "quality" / f"{study}.json").read_text())["jobs"]
    for row, names in groupby(STUDIES[study], key=lambda name: name.rpartition(" seed ")[0]):
        if jobs := [stored[name] for name in names if name in stored]:
            yield Row(row, jobs)


def table(study: str) -> str:
    """All rows of a study, in Markdown."""
    head = (f"`python -m benchmarks.quality {study} --cache CACHE --only` …", *COLUMNS)
    return "\n".join([f"| {' | '.join(head)} |", "|---" * len(head) + "|", *(row.line() for row in rows(study))])


def _spread(values: Sequence[float]) -> str:
    """Mean and sample deviation over seeds."""
    return _with_deviation(mean(values), stdev(values) if len(values) > 1 else None) if values else ""


def _with_deviation(value: float, deviation: float | None) -> str:
    return f"{value:.1f}" if deviation is None else f"{value:.1f} ± {deviation:.1f}"


def _span(values: Sequence[float]) -> str:
    low, high = f"{min(values):.1f}", f"{max(values):.1f}"
    return low if low == high else f"{low} to {high}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.report", description=__doc__)
    parser.add_argument("studies", nargs="+", metavar="STUDY", help="names of stored studies")
    for study in parser.parse_args().studies:
        print(table(study))


if __name__ == "__main__":
    main()
