"""Faults of a submission beside the fields that they speak of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from app.dashboard.job_form.schema import TERMS
from ddcore.spec import Problem


@dataclass(frozen=True)
class Faults:
    """What is wrong with what was typed.

    Attributes:
        beside: what to say beside a field, by its path.
        elsewhere: what no field of the form is about.
        missing: paths of fields that have to be filled in yet; nothing is said beside them before the form is sent.
    """

    beside: Mapping[str, Sequence[str]]
    elsewhere: Sequence[str]
    missing: Sequence[str] = ()

    @property
    def count(self) -> int:
        """How many there are, but for what is missing."""
        return len(self.elsewhere) + sum(map(len, self.beside.values()))

    @property
    def none(self) -> bool:
        """Whether the form can be sent."""
        return not self.count and not self.missing


NO_FAULTS = Faults({}, ())


def placed(problems: Sequence[Problem], body: Mapping[str, Any], paths: Sequence[str], *, sent: bool) -> Faults:
    """Put each problem beside its field, or beside the nearest one around it.

    Args:
        problems: of the submission.
        body: the submission.
        paths: of the fields on the form.
        sent: whether the user meant to be done, so that what is missing is a fault.
    """
    return placed_by(lambda pointer: path_of(pointer, body), problems, paths, sent=sent)


def placed_by(
    field_of: Callable[[str], str],
    problems: Sequence[Problem],
    paths: Sequence[str],
    *,
    sent: bool,
    unread: Mapping[str, str] = MappingProxyType({}),
) -> Faults:
    """The same where something else says which field a problem is about.

    Args:
        field_of: the path of the field that a JSON pointer leads to.
        problems: of the submission.
        paths: of the fields on the form.
        sent: whether the user meant to be done, so that what is missing is a fault.
        unread: what is wrong with fields that no value could be read from, by their paths; none of these is missing.
    """
    beside = {path: [text] for path, text in unread.items()}
    elsewhere: list[str] = []
    missing: list[str] = []
    for problem in problems:
        place = nearest_field(field_of(problem.pointer), paths)
        if problem.code == "missing" and place in unread:
            continue
        if place and problem.code == "missing" and not sent:
            missing.append(place)
        elif place:
            beside.setdefault(place, []).append(problem.detail)
        else:
            elsewhere.append(problem.detail)
    return Faults(beside, elsewhere, missing)


def path_of(pointer: str, body: Mapping[str, Any]) -> str:
    """The field that a JSON pointer leads to; regularisers stand by name on the form, and by number in a job."""
    steps = pointer.split("/")[1:]
    names = list(body.get(TERMS, ()))
    if len(steps) > 1 and steps[0] == TERMS and steps[1].isdecimal() and int(steps[1]) < len(names):
        steps[1] = str(names[int(steps[1])])
    return ".".join(steps)


def nearest_field(path: str, paths: Sequence[str]) -> str:
    """The field of a path, or the nearest one around it; empty where there is none."""
    while path and path not in paths:
        path = path.rpartition(".")[0]
    return path
