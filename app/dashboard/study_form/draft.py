"""What somebody has typed into the form of a study so far, and what that comes to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from app.dashboard.job_form.draft import plain_job
from app.dashboard.job_form.faults import NO_FAULTS, Faults, path_of, placed_by
from app.dashboard.job_form.field import Field
from app.dashboard.job_form.fields import fields
from app.dashboard.job_form.known import NOTHING, Known
from app.dashboard.job_form.reading import read
from app.dashboard.job_form.schema import TERMS, Shape
from app.dashboard.job_form.spelling import spell
from app.dashboard.study_form import shapes
from app.dashboard.study_form.space import ITERATIONS, STEPS, Parted, part
from app.studies.planning import AUTO
from ddcore.spec import Problem
from ddcore.spec.ranges import write_values

NOT_TYPED = ("do", "key", "outline")
"""Fields of the form that say nothing of the study itself."""


@dataclass(frozen=True)
class StudyDraft:
    """The fields of a form, by path."""

    values: Mapping[str, str]

    @cached_property
    def parted(self) -> Parted:
        """The job that all trials share, and the space."""
        return part(self._of_job, self.values)

    @property
    def automatic(self) -> bool:
        """Whether the study chooses methods, regularisers and their settings by itself."""
        return self.values.get("method", "").strip() == AUTO

    @property
    def _of_job(self) -> Mapping[str, Shape]:
        """The fields of the job; an automatic study takes no regularisers."""
        return {name: one for name, one in shapes.of_job().items() if not (self.automatic and name == TERMS)}

    @property
    def body(self) -> dict[str, Any]:
        """The request that it says."""
        beside = read(shapes.of_study(), self.values, shapes.BESIDE)
        space = {"space": dict(self.parted.space)} if self.parted.space else {}
        return {**beside, "base": dict(self.parted.base), **space}

    @property
    def known(self) -> Known:
        """What holds where nothing is typed, by the method where there is one."""
        plain = plain_job(self.parted.base) if "method" in self.parted.base else None
        return NOTHING if plain is None else Known(None, plain)

    def job_fields(self, faults: Faults = NO_FAULTS) -> dict[str, Field]:
        """The fields of the job, by name of those at the top."""
        return fields(self._of_job, self.values, faults, self.known, several=True)

    def study_fields(self, faults: Faults = NO_FAULTS) -> dict[str, Field]:
        """The fields of the study itself, by name of those at the top."""
        return fields(shapes.of_study(), self.values, faults, above=shapes.BESIDE)

    @property
    def all_fields(self) -> list[Field]:
        """Every field that a form with these values has."""
        tops = (*self.job_fields().values(), *self.study_fields().values())
        return [one for top in tops for one in top.all()]

    @property
    def outline(self) -> str:
        """What decides which fields the form has: what is chosen by name, and what is ticked."""
        return " ".join(f"{one.path}={one.value}" for one in self.all_fields if one.decides)

    @property
    def left_out(self) -> Sequence[tuple[str, str]]:
        """What was typed into fields that the form no longer has: (path, text)."""
        known = {one.path for one in self.all_fields}
        return [(path, text) for path, text in self.values.items() if text.strip() and path not in known]

    def placed(self, problems: Sequence[Problem], *, sent: bool) -> Faults:
        """Put each problem of the request beside its field, and what no values could be read from beside its own.

        Args:
            problems: of the request.
            sent: whether the user meant to be done, so that what is missing is a fault.
        """
        paths = [one.path for one in self.all_fields]
        return placed_by(self._path, problems, paths, sent=sent, unread=self.parted.unread)

    def _path(self, pointer: str) -> str:
        """The field that a JSON pointer into the request leads to."""
        whole, _, rest = pointer.removeprefix("/").partition("/")
        match whole:
            case "base":
                return _typed(path_of(f"/{rest}", self.parted.base))
            case "space":
                return _typed(rest.partition("/")[0])
        return shapes.BESIDE + pointer.removeprefix("/").replace("/", ".")


def from_form(sent: Mapping[str, str]) -> StudyDraft:
    """A draft as the form sends it."""
    return StudyDraft({name: text for name, text in sent.items() if name not in NOT_TYPED})


def from_request(request: Mapping[str, Any]) -> StudyDraft:
    """A draft of a copy of a study.

    Args:
        request: as a study's document has it.
    """
    base = {name: value for name, value in request["base"].items() if name not in shapes.OF_THE_STUDY}
    values = {_typed(path): text for path, text in spell(shapes.of_job(), base).items()}
    for path, line in request["space"].items():
        values[_typed(path)] = write_values(line)
        values |= dict.fromkeys(_above(path), "on")
    beside = {name: value for name, value in request.items() if name in shapes.of_study() and value not in (None, {})}
    return StudyDraft(values | spell(shapes.of_study(), beside, shapes.BESIDE))


def _typed(path: str) -> str:
    """Where the form has a field of a request's job."""
    return ITERATIONS if path == STEPS else path


def _above(path: str) -> Sequence[str]:
    """The box that has to be ticked for a field of a regulariser to be there."""
    steps = path.split(".")
    return [".".join(steps[:2])] if steps[0] == "regularizers" and len(steps) > 2 else []
