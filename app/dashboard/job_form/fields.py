"""What the form of a job shows: every field with its meaning, its default and what was typed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from app.dashboard.job_form.faults import NO_FAULTS, Faults
from app.dashboard.job_form.field import LABELS, Field
from app.dashboard.job_form.known import NOTHING, Known
from app.dashboard.job_form.schema import Shape
from app.dashboard.job_form.wording import about, default, options, rule

USUAL = frozenset(
    "iterations stages base lr_img batch_real weight relative protocol networks repeats epochs controls during".split()
)
"""Names of the fields inside a component that most users look at; the others are folded away."""
FEW = 4
"""A component with no more fields folds none of them away."""


def fields(
    parts: Mapping[str, Shape],
    values: Mapping[str, str],
    faults: Faults = NO_FAULTS,
    known: Known = NOTHING,
    above: str = "",
) -> dict[str, Field]:
    """The fields of an object, by name.

    Args:
        parts: of the object.
        values: what was typed, by path.
        faults: of the submission.
        known: what holds where nothing is typed.
        above: the path of the object, ending in a dot.
    """
    return {name: _field(shape, values, faults, known.part(name), above + name) for name, shape in parts.items()}


def _field(shape: Shape, values: Mapping[str, str], faults: Faults, known: Known, path: str) -> Field:
    value = values.get(path, "").strip()
    inner: Mapping[str, Field] = {}
    match shape.kind:
        case "component":
            inner = fields(shape.parts(value), values, faults, known.component(value), f"{path}.")
        case "group" if value or not shape.nullable:
            inner = fields(shape.parts(), values, faults, known, f"{path}.")
        case "terms":
            inner = _terms(shape, values, faults, known, path)
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
        faults=faults.beside.get(path, ()),
        about=about(shape.name, value) if shape.kind == "component" else None,
        usual=usual,
        unusual=unusual,
        nullable=shape.nullable,
    )


def _terms(shape: Shape, values: Mapping[str, str], faults: Faults, known: Known, path: str) -> Mapping[str, Field]:
    """A field to tick for each regulariser, with its fields below it once it is."""
    found = {}
    for name, term in shape.terms.items():
        place = f"{path}.{name}"
        ticked = values.get(place, "")
        inner = fields(term.parts(), values, faults, known.term(name), f"{place}.") if ticked else {}
        usual, unusual = _parted(inner)
        found[name] = Field(
            place, name, "", "group", ticked, faults=faults.beside.get(place, ()), about=about(shape.name, name),
            usual=usual, unusual=unusual, nullable=True,
        )  # fmt: skip
    return found


def _parted(inner: Mapping[str, Field], *, all_usual: bool = False) -> tuple[Sequence[Field], Sequence[Field]]:
    if all_usual or len(inner) <= FEW:
        return list(inner.values()), ()
    usual = [one for name, one in inner.items() if name in USUAL]
    return usual, [one for one in inner.values() if one not in usual]
