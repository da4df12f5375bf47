"""What the form of a job shows: every field with its meaning, its default and what was typed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.dashboard.job_form.faults import NO_FAULTS, Faults
from app.dashboard.job_form.field import LABELS, Field
from app.dashboard.job_form.known import NOTHING, Known
from app.dashboard.job_form.schema import Shape
from app.dashboard.job_form.wording import about, default, options, rule

USUAL = frozenset(
    "iterations stages base lr_img batch_real weight relative protocol networks repeats epochs controls during".split()
)
"""Names of the fields inside a component that most users look at; the others are folded away."""
SEVERAL = frozenset(("component", "choice", "flag", "integer", "number"))
"""Kinds of fields that may hold several values."""
FEW = 4
"""A component with no more fields folds none of them away."""


def fields(
    parts: Mapping[str, Shape],
    values: Mapping[str, str],
    faults: Faults = NO_FAULTS,
    known: Known = NOTHING,
    above: str = "",
    *,
    several: bool = False,
) -> dict[str, Field]:
    """The fields of an object, by name.

    Args:
        parts: of the object.
        values: what was typed, by path.
        faults: of the submission.
        known: what holds where nothing is typed.
        above: the path of the object, ending in a dot.
        several: whether a field may hold several values, as the space of a study does.
    """
    form = _Form(values, faults, several)
    return {name: form.field(shape, known.part(name), above + name) for name, shape in parts.items()}


@dataclass(frozen=True)
class _Form:
    values: Mapping[str, str]
    faults: Faults
    several: bool

    def field(self, shape: Shape, known: Known, path: str) -> Field:
        value = self.values.get(path, "").strip()
        inner: Mapping[str, Field] = {}
        match shape.kind:
            case "component":
                inner = self._inner(_chosen(shape, value), known.component(value), path)
            case "group" if value or not shape.nullable:
                inner = self._inner(shape.parts(), known, path)
            case "terms":
                inner = self._terms(shape, known, path)
        usual, unusual = _parted(inner, all_usual=shape.kind == "terms")
        return Field(
            path=path,
            label=LABELS.get(path, shape.name),
            help=str(shape.schema.get("description", "")) if shape.kind != "component" or not value else "",
            kind=shape.kind,
            value=value,
            default=default(shape, known.plain if value else known.here),
            rule=rule(shape),
            options=options(shape),
            required=shape.required,
            faults=self.faults.beside.get(path, ()),
            about=about(shape.name, value) if shape.kind == "component" else None,
            usual=usual,
            unusual=unusual,
            nullable=shape.nullable,
            several=self.several and shape.kind in SEVERAL,
        )

    def _inner(self, parts: Mapping[str, Shape], known: Known, path: str) -> Mapping[str, Field]:
        return fields(parts, self.values, self.faults, known, f"{path}.", several=self.several)

    def _terms(self, shape: Shape, known: Known, path: str) -> Mapping[str, Field]:
        """A field to tick for each regulariser, with its fields below it once it is."""
        found = {}
        for name, term in shape.terms.items():
            place = f"{path}.{name}"
            ticked = self.values.get(place, "")
            usual, unusual = _parted(self._inner(term.parts(), known.term(name), place) if ticked else {})
            found[name] = Field(
                place, name, "", "group", ticked, faults=self.faults.beside.get(place, ()),
                about=about(shape.name, name), usual=usual, unusual=unusual, nullable=True,
            )  # fmt: skip
        return found


def _chosen(shape: Shape, value: str) -> Mapping[str, Shape]:
    """The fields of the component that is named, or those that several that are named have in common."""
    return shape.shared_parts([name.strip() for name in value.split(",")])


def _parted(inner: Mapping[str, Field], *, all_usual: bool = False) -> tuple[Sequence[Field], Sequence[Field]]:
    if all_usual or len(inner) <= FEW:
        return list(inner.values()), ()
    usual = [one for name, one in inner.items() if name in USUAL]
    return usual, [one for one in inner.values() if one not in usual]
