"""The table of docs/methods.md that stored results fill: ``python -m benchmarks.report STUDY …``.

A row is the jobs of one method that differ in the seed: means over the seeds, with their deviation, of what each job
arrived at. Its command is ``python -m benchmarks.quality STUDY --only 'JOB' --cache CACHE``.
"""

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
from ddcore.spec.results import ProbeReport, Score

COLUMNS = (
    "`STUDY`",
    "`JOB`",
    "published",
    "measured",
    "random images",
    "MI bound",
    "CMI",
    "steps",
    "minutes to prepare",
    "to distil",
    "memory (MiB)",
)
NAME = re.compile(r"(\w+) ipc (\d+) (\S+)")


@dataclass(frozen=True)
class Row:
    """The jobs of one method on one dataset that differ in the seed.

    Attributes:
        study: their study.
        name: what their names begin with, such as ``cifar10 ipc 1 dm``.
        jobs: their stored results, at least one.
    """

    study: str
    name: str
    jobs: Sequence[Mapping[str, Any]]

    def line(self) -> str:
        """The row in Markdown. What is kept for other jobs, such as experts, was prepared by the slowest of these."""
        cells = (
            f"`{self.study}`",
            f"`{self.name} seed`",
            self.published(),
            _spread([Score.model_validate(job["accuracy"]).mean for job in self.jobs]),
            _spread([Score.model_validate(job["random"]).mean for job in self.jobs if job["random"]]),
            _spread([probe.mi_lower_bound for probe in self._probes()], digits=2),
            _spread([probe.cmi for probe in self._probes()], digits=3),
            f"{self.jobs[0]['job']['method']['iterations']:,}",
            f"{max(job['core_minutes'].get('pretraining', 0.0) for job in self.jobs):.1f}",
            _span([job["core_minutes"]["distilling"] for job in self.jobs]),
            f"{max(job['peak_mib'] for job in self.jobs):,}",
        )
        return f"| {' | '.join(cells)} |"

    def _probes(self) -> Sequence[ProbeReport]:
        """Readings that compare: those of a trained probe, and of the one that the last job had."""
        probes = [ProbeReport.model_validate(job["probe"]) for job in self.jobs]
        trained = [probe for probe in probes if probe.network == "teacher"]
        return [probe for probe in trained if probe.digest == trained[-1].digest]

    def published(self) -> str:
        """The published figure of this method, dataset and number of images; empty where there is none."""
        preset = all_presets().get(NAME.sub(r"paper/\3-\1-ipc\2", self.name))
        if preset is None or preset.published is None:
            return ""
        return _with_deviation(preset.published.accuracy, preset.published.std, digits=1)


def rows(study: str) -> Iterator[Row]:
    """Of a study, as far as it is stored."""
    stored: dict[str, Any] = json.loads((RESULTS / "quality" / f"{study}.json").read_text())["jobs"]
    for row, names in groupby(STUDIES[study], key=lambda name: name.rpartition(" seed ")[0]):
        if jobs := [stored[name] for name in names if name in stored]:
            yield Row(study, row, jobs)


def table(studies: Sequence[str]) -> str:
    """All rows of some studies, in Markdown."""
    lines = [row.line() for study in studies for row in rows(study)]
    return "\n".join([f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|", *lines])


def _spread(found: Sequence[float | None], digits: int = 1) -> str:
    """Mean and sample deviation over seeds, of what is there."""
    values = [value for value in found if value is not None]
    return _with_deviation(mean(values), stdev(values) if len(values) > 1 else None, digits) if values else ""


def _with_deviation(value: float, deviation: float | None, digits: int) -> str:
    return f"{value:.{digits}f}" if deviation is None else f"{value:.{digits}f} ± {deviation:.{digits}f}"


def _span(values: Sequence[float]) -> str:
    low, high = f"{min(values):.1f}", f"{max(values):.1f}"
    return low if low == high else f"{low} to {high}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.report", description=__doc__)
    parser.add_argument("studies", nargs="+", metavar="STUDY", help="names of stored studies")
    print(table(parser.parse_args().studies))


if __name__ == "__main__":
    main()
