"""One set made by ours or by a plain loop, scored; and what the seeds of both come to."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from statistics import fmean, stdev
from tempfile import TemporaryDirectory
from typing import Any

import torch

from benchmarks.harness import machine
from benchmarks.plain.given import Given, Loop
from ddcore import bundle, engine
from ddcore.bundle import DatasetReference, Distilled
from ddcore.data import sources
from ddcore.machine.compute import Compute
from ddcore.nets import Network, build
from ddcore.spec import JobSpec, parse
from ddcore.spec.results import Results

MODULES: Mapping[str, str] = {
    "sre2l": "recovered", "fadrm": "recovered", "ncfm": "characteristic", "rat_bptt": "through_training",
    "linear_gradient": "linear", "rded": "tiled", "cim": "tiled", "datm": "trajectories", "pad": "trajectories",
}  # fmt: skip
"""Where the loop of each method is, under the name of the method."""
SEEDS = 3
"""From 0 on, unless more are asked for."""
SIDES = ("ours", "plain")
ADOPTED = "adopted"
"""The side of a plain loop that looks through the teacher of ours.

That is the same one at every seed, and what networks learn from two teachers can differ by more than two sets do. Its
seconds hold the making of ours.
"""
ARITHMETIC: Mapping[str, Any] = {"precision": "fp32", "compile": "off", "device": "cpu"}
"""Of both sides and of their scoring."""
UNREAD: Mapping[str, Any] = {"probe": "random", "every": 1_000_000}
"""Readings take time that a plain loop does not spend."""


@dataclass(frozen=True)
class Run:
    """One set.

    >>> Run("sre2l", "plain", 0).name
    'sre2l plain seed 0'

    Attributes:
        method: a key of :data:`MODULES`.
        side: one of :data:`SIDES`, or :data:`ADOPTED`.
        seed: of the set, and of the networks that score it.
        changes: fields of the job beside those of the preset.
    """

    method: str
    side: str
    seed: int
    changes: Mapping[str, Any] | None = None

    @property
    def name(self) -> str:
        """What it is called."""
        return f"{self.method} {self.side} seed {self.seed}"

    @property
    def spec(self) -> JobSpec:
        """The quick preset of the method."""
        fields = {"preset": f"quick/{self.method}-digits", "seed": self.seed, "metrics": dict(UNREAD), **ARITHMETIC}
        return parse({**fields, **(self.changes or {})})

    def work(self) -> dict[str, Any]:
        """Make the set and score it; what is stored of it."""
        spec = self.spec
        make = {"ours": _ours, "plain": _plain, ADOPTED: _adopted}[self.side]
        with TemporaryDirectory(prefix="plain-") as name:
            folder = Path(name)
            wall, cores = time.perf_counter(), time.process_time()
            readings = make(spec, folder / "set")
            seconds = {"seconds": time.perf_counter() - wall, "core_seconds": time.process_time() - cores}
            # The very same function for both: it reads the set, its labels, its rate and its teacher from the folder.
            results = bundle.train_on(folder / "set", repeats=spec.evaluation.repeats, cache=folder / "scoring")
        return {
            "accuracy": _accuracy(results),
            **{key: round(value, 1) for key, value in seconds.items()},
            "readings": readings,
            "teacher": None if results.teacher is None else results.teacher.accuracy,
            "job": {"preset": f"quick/{self.method}-digits", "seed": self.seed, **ARITHMETIC, **(self.changes or {})},
            "command": f"python -m benchmarks.plain {self.method} --seeds {self.seed + 1} --only '{self.name}'",
            "machine": machine(),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
        }


def _accuracy(results: Results) -> dict[str, Any]:
    found: dict[str, Any] = results.model_dump(mode="json", exclude_unset=True)["accuracy"]
    return found


def _unscored(spec: JobSpec) -> JobSpec:
    evaluation = spec.evaluation.model_copy(update={"repeats": 0, "controls": (), "audit": False})
    changed = spec.model_copy(update={"evaluation": evaluation})
    return changed if spec.facts is None else changed.knowing(spec.facts)


def _ours(spec: JobSpec, out: Path) -> Mapping[str, float]:
    """The engine's set, from an empty cache."""
    root = Path(os.environ["DD_DATA_ROOT"]) if "DD_DATA_ROOT" in os.environ else None
    made, cache = out.with_name("run"), out.with_name("cache")
    engine.run(_unscored(spec), out, run_dir=made, data_root=root, cache=cache)
    return {}


def _adopted(spec: JobSpec, out: Path) -> Mapping[str, float]:
    """The loop's set by the teacher of ours, as its bundle keeps it."""
    ours = out.with_name("ours")
    _ours(spec, ours)
    content = bundle.read(ours)
    if content.teacher is None:
        raise ValueError(f"`{spec.method.name}` looks through no teacher")
    teacher = build(spec.evaluation.teacher.network, content.dataset.shape, len(content.dataset.classes))
    teacher.load_state_dict(content.teacher)
    return _plain(spec, out, teacher.eval().requires_grad_(False))


def _plain(spec: JobSpec, out: Path, teacher: Network | None = None) -> Mapping[str, float]:
    """The loop's set, as a bundle with its own labels, rate and teacher, unless it is given one."""
    dataset = sources.load(spec.dataset, None, None)
    given = Given.of(spec, dataset, teacher)
    made = loop_of(spec.method.name)(given)
    labels = torch.arange(given.classes).repeat_interleave(len(made.images) // given.classes)
    keeps = spec.evaluation.keeps_teacher
    content = Distilled(
        images=given.pixels(made.images),
        labels=labels,
        soft_labels=made.soft_labels,
        learning_rate=made.learning_rate,
        teacher=_halved(made.teacher) if keeps and made.teacher is not None else None,
        stored=None if made.stored is None else given.pixels(made.stored),
        spec=_unscored(spec),
        dataset=DatasetReference.of(dataset),
        results=Results(accuracy=None, controls={}),
        compute=Compute.choose(spec.device, spec.precision, spec.compile, expected_images_forwarded=0).describe(),
    )
    bundle.write(out, content)
    return made.readings


def loop_of(method: str) -> Loop:
    """The plain loop of a method."""
    loop: Loop = getattr(import_module(f"benchmarks.plain.{MODULES[method]}"), method)
    return loop


def _halved(teacher: Network) -> dict[str, torch.Tensor]:
    """Tensors as a bundle keeps those of a teacher: weights in half precision, running statistics as they are."""
    weights = dict(teacher.named_parameters())
    return {
        name: (value.half() if name in weights else value).detach().clone()
        for name, value in teacher.state_dict().items()
    }


def sides(method: str) -> tuple[str, ...]:
    """What is made of a method: its teacher is adopted where it has one that scoring takes too."""
    return (*SIDES, ADOPTED) if Run(method, "plain", 0).spec.evaluation.keeps_teacher else SIDES


def runs(methods: Sequence[str], only: str = "", seeds: int = SEEDS) -> list[Run]:
    """Those of some methods, with so many seeds, whose name contains ``only``; seed after seed."""
    every = (Run(method, side, seed) for method in methods for seed in range(seeds) for side in sides(method))
    return [one for one in every if only in one.name]


def summary(found: Mapping[str, Any]) -> str:
    """A run in a line."""
    return f"{found['accuracy']['mean']:.1f} %, {found['core_seconds']:.0f} s of a core"


@dataclass(frozen=True)
class Compared:
    """Two sides of a method on all seeds that both have.

    Attributes:
        method: its name.
        ours: percent, seed by seed.
        plain: of the other side, likewise.
        seconds: of a core, to make a set: of ours and of the other side, on average.
    """

    method: str
    ours: list[float]
    plain: list[float]
    seconds: tuple[float, float]

    @property
    def difference(self) -> float:
        """Of ours to the plain loop, in points."""
        return fmean(self._differences())

    @property
    def error(self) -> float:
        """Standard error of the paired difference; NaN of one seed."""
        differences = self._differences()
        return stdev(differences) / math.sqrt(len(differences)) if len(differences) > 1 else math.nan

    def _differences(self) -> list[float]:
        return [one - other for one, other in zip(self.ours, self.plain, strict=True)]


def compared(stored: Mapping[str, Any], other: str = "plain") -> Iterator[Compared]:
    """Every method of which a seed has both ours and another side."""
    for method in MODULES:
        seeds = sorted({int(name.rsplit(" ", 1)[1]) for name in stored if name.startswith(f"{method} ")})
        pairs = [tuple(stored.get(Run(method, side, seed).name) for side in ("ours", other)) for seed in seeds]
        whole = [(ours, plain) for ours, plain in pairs if ours is not None and plain is not None]
        if whole:
            ours, plain = zip(*whole, strict=True)
            yield Compared(method, _accuracies(ours), _accuracies(plain), (_seconds(ours), _seconds(plain)))


def _accuracies(found: Sequence[Mapping[str, Any]]) -> list[float]:
    return [each["accuracy"]["mean"] for each in found]


def _seconds(found: Sequence[Mapping[str, Any]]) -> float:
    return fmean(each["core_seconds"] for each in found)


def table(stored: Mapping[str, Any]) -> Iterator[str]:
    """Markdown: a row for each method."""
    alike = {one.method: f"{one.difference:+.1f} ± {one.error:.1f}" for one in compared(stored, ADOPTED)}
    yield "| method | seeds | ours | plain loop | difference | by the same teacher | seconds | of the plain loop |"
    yield "|---|---|---|---|---|---|---|---|"
    for one in compared(stored):
        difference, seconds = f"{one.difference:+.1f} ± {one.error:.1f}", f"{one.seconds[0]:.0f} | {one.seconds[1]:.0f}"
        means = f"{_spread(one.ours)} | {_spread(one.plain)}"
        yield f"| `{one.method}` | {len(one.ours)} | {means} | {difference} | {alike.get(one.method, '')} | {seconds} |"


def _spread(found: list[float]) -> str:
    return f"{fmean(found):.1f}" + (f" ± {stdev(found):.1f}" if len(found) > 1 else "")
