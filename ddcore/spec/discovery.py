"""What is found without being listed: files put into a package, and what other distributions offer.

Another distribution offers something by an entry point, a line of its metadata that gives an object a name within a
group. One that cannot be used is left out and remembered, so that it can be named: it keeps nothing else from working.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import Distribution, EntryPoint, distributions
from typing import Any

PREFIX = "ddservice."
"""What the names of our groups begin with."""


@dataclass(frozen=True)
class Broken:
    """Something that another distribution offers, but that cannot be used.

    Attributes:
        group: of the entry point.
        name: of the entry point; of no one in particular (empty) where the list of them cannot be read.
        distribution: name and version of what offers it.
        reason: what went wrong.
    """

    group: str
    name: str
    distribution: str
    reason: str

    def __str__(self) -> str:
        what = f"`{self.name}` in `{self.group}`" if self.name else f"`{self.group}`"
        return f"entry point {what} of {self.distribution} is left out: {self.reason}"


_broken: dict[tuple[str, str, str], Broken] = {}


def import_modules(package: str, path: Iterable[str]) -> None:
    """Import every module of a package, in the order of their names.

    Args:
        package: its name.
        path: its ``__path__``.
    """
    for module in sorted(pkgutil.iter_modules(path), key=lambda found: found.name):
        importlib.import_module(f"{package}.{module.name}")


def load_offers(group: str, use: Callable[[str, Callable[[], Any]], object]) -> None:
    """Go through what other distributions offer in a group, in the order of names, then of distributions.

    Args:
        group: of entry points.
        use: is given the name of each and what loads its object, and raises where the object is unfit.
    """
    for point in _entry_points():
        if point.group != group:
            continue
        try:
            use(point.name, point.load)
        except (Exception, SystemExit) as error:  # code of others fails in whatever way it likes
            _note(Broken(group, point.name, _title(point.dist), _reason(error)))


def offered() -> tuple[tuple[str, str, str], ...]:
    """Group, name and distribution of everything that other distributions offer, whether it can be used or not."""
    return tuple((point.group, point.name, _title(point.dist)) for point in _entry_points())


def broken() -> tuple[Broken, ...]:
    """What has been found unusable so far."""
    return tuple(_broken.values())


def why_missing(group: str, name: str) -> str | None:
    """Why a name of a group is not there, if somebody offers it."""
    reasons = [
        f"{one.distribution} offers it, but {one.reason}" for one in broken() if (one.group, one.name) == (group, name)
    ]
    return "; ".join(reasons) or None


@cache
def _entry_points() -> tuple[EntryPoint, ...]:
    """Those of our groups, of each distribution once."""
    found: dict[tuple[str, str, str], EntryPoint] = {}
    for distribution in distributions():
        try:
            # Reading the text is cheap; only those that mention us are parsed, each by itself: one that is damaged
            # would otherwise hide all the others.
            if PREFIX not in (distribution.read_text("entry_points.txt") or ""):
                continue
            points = [point for point in distribution.entry_points if point.group.startswith(PREFIX)]
        except Exception as error:  # metadata of others is damaged in whatever way it likes
            _note(Broken("entry_points.txt", "", _title(distribution), _reason(error)))
            continue
        for point in points:
            # As for modules, the first on the path prevails.
            found.setdefault((point.name, _title(distribution).partition(" ")[0], point.group), point)
    return tuple(found[key] for key in sorted(found))


def _note(one: Broken) -> None:
    _broken[one.group, one.name, one.distribution] = one


def _title(distribution: Distribution | None) -> str:
    """Name and version, as far as the metadata can be read."""
    try:
        return f"{distribution.name} {distribution.version}" if distribution is not None else "an unknown distribution"
    except Exception:  # as above
        return f"a distribution with damaged metadata in {distribution.locate_file('') if distribution else '?'}"


def _reason(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())
