"""The space of a study: values by dotted path, and its points, which are numbered and never listed.

Point 0 has the first value of every path; the last path changes fastest. A point is computed from its number, so that
a space of any size takes no memory and its size is exact.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

from app.studies.schemas import Range

Values = Mapping[str, Any]
"""What a point sets, by dotted path into the body of a job."""

_SPARE_BYTES = 16
"""Random bytes beyond those that a number needs, so that the remainder is as good as uniform."""
_COMPONENTS = ("method", "regularizers", "network", "decoder", "sampler")
"""Fields of a job that hold a component: its name alone, or an object with its name."""


class Space:
    """What a study can try.

    Args:
        paths: values by path, each in order.

    >>> space = Space({"method": ["dm", "idm"], "ipc": [1, 2, 5]})
    >>> space.size, space.point(4)
    (6, {'method': 'idm', 'ipc': 2})
    """

    def __init__(self, paths: Mapping[str, Sequence[Any] | Range]) -> None:
        self._values: dict[str, Sequence[Any]] = {
            path: given.values() if isinstance(given, Range) else given for path, given in paths.items()
        }

    @cached_property
    def _known(self) -> Mapping[str, Mapping[str, int]]:
        """Positions by path and value."""
        return {
            path: {_identity(value): position for position, value in enumerate(values)}
            for path, values in self._values.items()
        }

    @property
    def size(self) -> int:
        """Number of points, exactly; 1 without any path."""
        return math.prod(len(values) for values in self._values.values())

    @property
    def paths(self) -> Mapping[str, Sequence[Any]]:
        """Values by path, each in order."""
        return self._values

    def positions(self, point: Values) -> dict[str, int]:
        """Where the values of a point stand among those of their paths.

        >>> Space({"method": ["dm", "idm"], "ipc": [1, 2, 5]}).positions({"method": "idm", "ipc": 2})
        {'method': 1, 'ipc': 1}
        """
        return {path: self._known[path][_identity(point[path])] for path in self._values}

    def at(self, positions: Mapping[str, int]) -> dict[str, Any]:
        """The point with the values at some positions, see :meth:`positions`."""
        return {path: values[positions[path]] for path, values in self._values.items()}

    def number(self, point: Values) -> int:
        """The number of a point, see :meth:`point`.

        >>> Space({"method": ["dm", "idm"], "ipc": [1, 2, 5]}).number({"method": "idm", "ipc": 2})
        4
        """
        number = 0
        for path, position in self.positions(point).items():
            number = number * len(self._values[path]) + position
        return number

    def point(self, number: int) -> dict[str, Any]:
        """One point.

        Args:
            number: 0 to ``size - 1``.
        """
        chosen = []
        for path, values in reversed(self._values.items()):
            number, position = divmod(number, len(values))
            chosen.append((path, values[position]))
        return dict(reversed(chosen))

    def grid(self) -> Iterator[dict[str, Any]]:
        """Every point in order."""
        return (self.point(number) for number in range(self.size))

    def draw(self, count: int, seed: int) -> list[dict[str, Any]]:
        """Different points at random, in the order of the space; all of them where there are no more.

        They follow from ``seed`` and the size of the space alone, on every machine and version.

        Args:
            count: how many.
            seed: of the draw.
        """
        size = self.size
        if count >= size:
            return list(self.grid())
        numbers: set[int] = set()
        drawn = 0
        while len(numbers) < count:
            numbers.add(_random_below(size, seed, drawn))
            drawn += 1
        return [self.point(number) for number in sorted(numbers)]


def _identity(value: object) -> str:
    """A value in letters: the same for one that a database has kept, which may write 1e22 as a whole number."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return json.dumps(value, sort_keys=True)


def _random_below(size: int, seed: int, position: int) -> int:
    """The ``position``-th number of a random sequence, 0 to ``size - 1``."""
    length = (size.bit_length() + 7) // 8 + _SPARE_BYTES
    return int.from_bytes(hashlib.shake_256(f"study/{seed}/{position}".encode()).digest(length), "big") % size


def laid_over(base: Mapping[str, Any], values: Values) -> dict[str, Any]:
    """The body of a job with a point's values in place.

    A component that is named only becomes an object where a field of it is set; regularisers become an object by name.
    A `method` of another name keeps nothing of the base's but its ``iterations``. ``iterations`` itself stays beside
    the method, see :func:`with_iterations`. Shorter paths are set first, so that ``method`` never undoes ``method.lr``.

    Args:
        base: body of a job.
        values: what to set; ``None`` takes a field out.

    >>> laid_over({"method": "dm", "regularizers": {"mim": 1}}, {"method.lr_img": 2, "regularizers.cmi.weight": 3})
    {'method': {'name': 'dm', 'lr_img': 2}, 'regularizers': {'mim': 1, 'cmi': {'weight': 3}}}
    """
    body: dict[str, Any] = json.loads(json.dumps(base))
    for path in sorted(values, key=lambda path: path.count(".")):
        *outer, last = path.split(".")
        if path == "method":
            body["method"] = _other_method(body.get("method"), values[path])
            continue
        if values[path] is None:
            _inside(body, outer).pop(last, None)
        else:
            _inside(body, outer)[last] = values[path]
    return body


def _inside(body: dict[str, Any], path: Sequence[str]) -> dict[str, Any]:
    """The object at a path, made where there is none."""
    for depth, name in enumerate(path):
        found = body.get(name)
        if not isinstance(found, dict):
            found = body[name] = _as_object(path[: depth + 1], found)
        body = found
    return body


def _as_object(path: Sequence[str], value: object) -> dict[str, Any]:
    """A short spelling as the object that it stands for."""
    if path[0] == "regularizers" and isinstance(value, list):
        return {each["name"]: each for each in value if isinstance(each, dict) and "name" in each}
    if path[0] == "regularizers" and len(path) == 2 and isinstance(value, (int, float)):
        return {"weight": value}
    if path[0] in _COMPONENTS and isinstance(value, str):
        return {"name": value}
    return {}


def _other_method(present: object, chosen: object) -> object:
    if not isinstance(present, dict) or not isinstance(chosen, str):
        return chosen
    if present.get("name") == chosen:
        return present
    kept = {"iterations": present["iterations"]} if "iterations" in present else {}
    return {"name": chosen, **kept}


def with_iterations(body: Mapping[str, Any], takes_steps: bool) -> dict[str, Any]:
    """The body with ``iterations`` in its method, where a job has them; a method without steps has none.

    >>> with_iterations({"method": "dm", "iterations": 90}, takes_steps=True)
    {'method': {'name': 'dm', 'iterations': 90}}
    >>> with_iterations({"method": {"name": "herding", "iterations": 90}}, takes_steps=False)
    {'method': {'name': 'herding'}}
    """
    rest = {name: value for name, value in body.items() if name != "iterations"}
    method = rest.get("method")
    if not takes_steps:
        if isinstance(method, Mapping):
            rest["method"] = {name: value for name, value in method.items() if name != "iterations"}
        return rest
    if "iterations" in body:
        fields = {"name": method} if isinstance(method, str) else dict(method) if isinstance(method, Mapping) else {}
        rest["method"] = {**fields, "iterations": body["iterations"]}
    return rest


def title(values: Values) -> str:
    """A point in words.

    >>> title({"method": "dm", "regularizers.mim.weight": 0.5, "ipc": 10})
    'dm, mim.weight 0.5, ipc 10'
    >>> title({})
    'the base'
    """
    return ", ".join(_said(path, value) for path, value in values.items()) or "the base"


def _said(path: str, value: object) -> str:
    shown = value if isinstance(value, str) else json.dumps(value)
    if path in ("method", "preset"):
        return str(shown)
    name = path.removeprefix("regularizers.").removeprefix("method.")
    return f"{name} {shown}" if value is not None else f"no {name}"
