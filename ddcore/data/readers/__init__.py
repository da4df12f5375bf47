"""Readers of users' files, one layout a file, or a package where it has several subjects.

A class decorated with :func:`reader` in a module here is found; nothing lists it. Another distribution names such a
class by an entry point in the group ``ddservice.datasets``, under the name of its layout.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

from ddcore.data.source import Choices, Guess, Source
from ddcore.errors import DataError
from ddcore.spec import discovery
from ddcore.spec.listing import listed

GROUP = "ddservice.datasets"
"""Entry points that name the readers of other distributions."""

CHOICES = tuple(Choices.model_fields)
"""What a reader may heed."""

_DEPTH = 3
_SHOWN = 8


class Reader(Protocol):
    """Reads one layout; it is made without arguments and keeps nothing.

    Attributes:
        heeds: the fields of :class:`Choices` that can decide how its files are read; empty where there is nothing to
            choose. :meth:`Match.read` refuses all others, so that no choice is ignored.
    """

    heeds: ClassVar[frozenset[str]]

    def sniff(self, place: Path) -> Guess | None:
        """How sure it is that a folder or a file is of its layout; nothing where it is not.

        It looks at names and at a few bytes, never at every image, and raises nothing for files that are not its own.
        """
        ...

    def read(self, place: Path, choices: Choices) -> Source:
        """What lies there.

        A choice that it heeds in general, but that these files do not leave, is refused and not ignored.

        Raises:
            DataError: something is missing or unfit; the message names file, value and way out.
        """
        ...


@dataclass(frozen=True)
class Match:
    """A reader that knows what lies at a place.

    Attributes:
        layout: the name of its layout.
        reader: itself.
        place: where the files lie: what was given, or the only folder in it.
        why: what it saw.
    """

    layout: str
    reader: Reader
    place: Path
    why: str

    def read(self, choices: Choices) -> Source:
        """What lies there, read as the user chooses.

        Raises:
            DataError: a choice was made that files of this layout do not leave, or the reader refuses the files.
        """
        self._check(choices)
        return self.reader.read(self.place, choices)

    def _check(self, choices: Choices) -> None:
        """Refuse choices that the reader does not heed."""
        made = {name: getattr(choices, name) for name in CHOICES}
        made = {name: value for name, value in made.items() if value != Choices.model_fields[name].default}
        idle = [name for name in made if name not in self.reader.heeds]
        if not idle:
            return
        given = " and ".join(f"`{name}` is {made[name]!r}" for name in idle)
        heeded = [f"`{name}`" for name in CHOICES if name in self.reader.heeds]
        left = f"only {', '.join(heeded)} can be" if heeded else "nothing can be"
        others = [
            name for name, cls in readers().items() if made.keys() <= cls.heeds and cls().sniff(self.place) is not None
        ]
        other = f", or read the files by another reader: `layout` = '{others[0]}'" if others else ""
        raise DataError(
            f"{given}, but of files of the layout '{self.layout}' {left} chosen; leave "
            f"{'it' if len(idle) == 1 else 'them'} out{other}"
        )


C = TypeVar("C", bound=type[Reader])

_READERS: dict[str, type[Reader]] = {}


def reader(layout: str) -> Callable[[C], C]:
    """Decorator: this class reads files of a layout.

    Raises:
        TypeError: it is no class with ``sniff`` and ``read``, or does not say which choices it heeds.
        ValueError: another one already reads that layout.
    """

    def register(cls: C) -> C:
        _check_complete(cls)
        known = _READERS.get(layout)
        if known is not None and (known.__module__, known.__qualname__) != (cls.__module__, cls.__qualname__):
            raise ValueError(f"the layout {layout!r} is already read by {known.__qualname__} of {known.__module__}")
        _READERS[layout] = cls
        return cls

    return register


def match(place: Path, layout: str | None = None) -> Match:
    """The reader that is surest of a place, which may be wrapped in a folder of its own.

    Args:
        place: a folder or a file.
        layout: the only reader to ask, where the user has named one.

    Raises:
        DataError: no reader knows what lies there, or two are equally sure.
    """
    known = readers()
    if layout is not None and layout not in known:
        raise DataError(f"there is no layout '{layout}'; known: {', '.join(known)}")
    asked = known if layout is None else {layout: known[layout]}
    for inner in _wrapped(place):
        guesses = [(name, cls, guess) for name, cls in asked.items() if (guess := cls().sniff(inner)) is not None]
        guesses.sort(key=lambda one: -one[2].sureness)
        if len(guesses) > 1 and guesses[0][2].sureness == guesses[1][2].sureness:
            both = " or ".join(f"'{name}' ({guess.why})" for name, _, guess in guesses[:2])
            raise DataError(f"{inner} can be read as {both}; say which with `layout`")
        if guesses:
            name, cls, guess = guesses[0]
            return Match(name, cls(), inner, guess.why)
    raise DataError(f"{place} holds nothing that can be read as labelled images; {_present(place)}. {layouts_known()}")


def layouts_known() -> str:
    """One sentence on every layout that can be read."""
    return (
        "Known are folders with a folder of images for each class, parquet files, .npz arrays, a table (CSV, TSV or "
        "JSONL) of image paths and labels, and the archives of well-known sets; each also as a .zip or .tar"
    )


def _wrapped(place: Path) -> list[Path]:
    """A place, and what is left of it when folders that hold a single folder and nothing else are opened."""
    places = [place]
    while place.is_dir() and len(places) <= _DEPTH:
        listing = listed(place)
        tops = {path.parts[0] for path in listing.files}
        inner = place / next(iter(tops), "")
        if len(tops) != 1 or not inner.is_dir():
            break
        places.append(inner)
        place = inner
    return places


def _present(place: Path) -> str:
    if not place.exists():
        return "there is no such folder or file"
    if place.is_file():
        return f"a file of {place.stat().st_size:,} bytes"
    names = sorted(path.name + ("/" if path.is_dir() else "") for path in place.iterdir())
    return f"present: {', '.join(names[:_SHOWN]) or 'nothing'}{' …' if len(names) > _SHOWN else ''}"


@cache
def readers() -> dict[str, type[Reader]]:
    """Every reader by the name of its layout; those of others that cannot be loaded are in ``discovery.broken()``."""
    discovery.import_modules(__name__, __path__)
    ours = {layout: _READERS[layout] for layout in sorted(_READERS)}
    discovery.load_offers(GROUP, _admit)
    return ours | _READERS


def _admit(layout: str, load: Callable[[], Any]) -> None:
    """Take in the reader that an entry point offers."""
    reader(layout)(load())


def _check_complete(cls: Any) -> None:
    """Refuse what is no reader; others write them, and no type checker need have seen theirs."""
    missing = [name for name in ("sniff", "read") if not callable(getattr(cls, name, None))]
    if not isinstance(cls, type) or missing:
        raise TypeError(f"{cls!r} is no class with `sniff` and `read`")
    heeds = getattr(cls, "heeds", None)
    if not isinstance(heeds, frozenset) or not heeds <= set(CHOICES):
        raise TypeError(
            f"{cls.__qualname__}.heeds is {heeds!r}, but must be a frozenset of the choices that it heeds, some of "
            f"{', '.join(CHOICES)}; frozenset() for none"
        )
