"""What differs between specifications, which of them differ in the seed only, and how to call each kind."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ddcore.spec.recipe import recipe_of

Spec = Mapping[str, Any]

SEED = "seed"
_ON_THE_WAY = ("epochs", "on", "validation", "held_out")
"""Fields of ``evaluation.during`` that accuracies on the way depend on, beside those of the recipe."""
_FIRST = ("dataset", "ipc")
"""Fields that tell kinds apart before any other, after the method and its regularisers."""


@dataclass(frozen=True)
class Difference:
    """One field that is not the same everywhere.

    Attributes:
        path: dotted, as ``ddctl submit --set`` takes it; a regulariser stands under its name.
        values: by position of the specification; where it has no such field, it is missing.
    """

    path: str
    values: Mapping[int, Any]


def differences(specs: Sequence[Spec]) -> list[Difference]:
    """The fields in which some specifications differ, in the order of the specification.

    A field that only some of them have, because their method or network is another one, counts where it differs among
    those that have it. A regulariser that only some of them have is one field with its strength as value.
    """
    tables = [dict(_leaves(spec)) for spec in specs]
    paths = dict.fromkeys(path for table in tables for path in table)
    fields = [Difference(path, {n: table[path] for n, table in enumerate(tables) if path in table}) for path in paths]
    return [*(field for field in fields if _differs(field.values)), *_only_in_some(specs)]


def kinds(specs: Sequence[Spec]) -> list[list[int]]:
    """Positions of the specifications, those together that are the same but for the seed; in order of appearance."""
    found: dict[str, list[int]] = {}
    for position, spec in enumerate(specs):
        found.setdefault(_canonical({**spec, SEED: None}), []).append(position)
    return list(found.values())


def labels(specs: Sequence[Spec]) -> list[str]:
    """A short name for each of some specifications: the method with its regularisers, and what else tells them apart.

    Args:
        specs: no two of them the same but for the seed.

    >>> dm = {"dataset": "digits", "ipc": 1, "method": {"name": "dm", "iterations": 10}, "seed": 0}
    >>> labels([dm, dm | {"ipc": 10}, dm | {"regularizers": [{"name": "cmi", "weight": 2000.0}]}])
    ['dm, ipc 1', 'dm, ipc 10', 'dm + cmi 2000, ipc 1']
    """
    texts = [[made_by(spec)] for spec in specs]
    for field in _telling(specs):
        told = [(*text, _text(field, position)) for position, text in enumerate(texts)]
        if len(set(told)) > len({tuple(text) for text in texts}):
            for text, (*_, word) in zip(texts, told, strict=True):
                text.append(word)
    return [", ".join(word for word in text if word) for text in texts]


def made_by(spec: Spec) -> str:
    """The method with its regularisers, each with its strength.

    >>> made_by({"method": {"name": "dm"}, "regularizers": [{"name": "mim", "relative": 1.0, "weight": None}]})
    'dm + mim 1× gradient'
    """
    terms = [f"{term['name']} {strength(term)}" for term in spec.get("regularizers", ())]
    return " + ".join([str(spec["method"]["name"]), *terms])


def strength(regularizer: Mapping[str, Any]) -> str:
    """How strong a regulariser is: its weight, or its share of the method's gradient."""
    relative, weight = regularizer.get("relative"), regularizer.get("weight")
    return f"{relative:g}× gradient" if relative is not None else f"{weight:g}" if weight is not None else "on"


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if path == "regularizers":
        value = {term["name"]: {k: v for k, v in term.items() if k != "name"} for term in value}
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _leaves(item, f"{path}.{name}" if path else name)
    else:
        yield path, value


def _only_in_some(specs: Sequence[Spec]) -> Iterator[Difference]:
    tables = [{term["name"]: strength(term) for term in spec.get("regularizers", ())} for spec in specs]
    for name in dict.fromkeys(name for table in tables for name in table):
        values = {position: table[name] for position, table in enumerate(tables) if name in table}
        if len(values) < len(specs):
            yield Difference(f"regularizers.{name}", values)


def _telling(specs: Sequence[Spec]) -> list[Difference]:
    """Differences in the order in which they are worth naming; the method and its regularisers are named already."""
    said = ("method.name", SEED)
    found = [field for field in differences(specs) if field.path not in said]
    return sorted(found, key=lambda field: _FIRST.index(field.path) if field.path in _FIRST else len(_FIRST))


def _text(field: Difference, position: int) -> str:
    if position not in field.values:
        return ""
    value = field.values[position]
    written = f"{value:g}" if isinstance(value, float) else value if isinstance(value, str) else _canonical(value)
    return written if field.path == "dataset" else f"{field.path.removeprefix('method.')} {written}"


def _differs(values: Mapping[int, Any]) -> bool:
    return len({_canonical(value) for value in values.values()}) > 1


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def recipe_on_the_way(spec: Spec) -> tuple[Any, ...]:
    """How networks are trained and tested on the way: accuracies of two jobs compare where it is the same."""
    during = spec["evaluation"].get("during") or {}
    return (recipe_of(spec, None).key, *(during.get(field) for field in _ON_THE_WAY))
