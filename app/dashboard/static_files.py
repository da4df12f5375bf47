"""The dashboard's style, scripts and icon, and its chart library, read once and served with an entity tag."""

from __future__ import annotations

import gzip
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.metadata import distribution
from importlib.resources import files
from pathlib import Path

MEDIA_TYPES = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}

CARRIER = "youplot"
"""The distribution whose wheel carries uPlot; nothing else of it is used, and its Python code is never run."""
UPLOT = "1.6.31"
CHARTS = {
    f"uplot-{UPLOT}.js": (
        "youplot/vendor/uplot.iife.min.js",
        "2d27e8ad3d228164525ce213f9dc716f39b4e3aee0cc773fb3491c96cf4921a2",
    ),
    f"uplot-{UPLOT}.css": (
        "youplot/vendor/uplot.min.css",
        "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04",
    ),
}
"""Name on our pages, file in the carrier, and SHA-256 of the same file in uPlot's own release on npm."""


_IMPORTED = re.compile(r"""^import [^"']*["']\./([\w.]+)["'];""", re.M)


class ChartLibraryError(RuntimeError):
    """The installed chart library is not the release that its digest names."""


@dataclass(frozen=True)
class StaticFile:
    """One file as it is sent.

    Attributes:
        lasting: whether its name says its version, so that it never changes under it.
    """

    content: bytes
    media_type: str
    tag: str
    lasting: bool = False

    @cached_property
    def compressed(self) -> bytes:
        """The content with gzip."""
        return gzip.compress(self.content, 9, mtime=0)

    def headers(self, *, compressed: bool) -> dict[str, str]:
        """What is said of it in the answer; the two codings are different representations, with tags of their own."""
        keep = "public, max-age=31536000, immutable" if self.lasting else "no-cache"
        said = {"ETag": self.tag_of(compressed=compressed), "Cache-Control": keep, "Vary": "Accept-Encoding"}
        return said | ({"Content-Encoding": "gzip"} if compressed else {})

    def tag_of(self, *, compressed: bool) -> str:
        """The entity tag of one coding."""
        return f'{self.tag[:-1]}-gzip"' if compressed else self.tag


def load() -> dict[str, StaticFile]:
    """Every file of the folder ``static`` and of the chart library, by name.

    Raises:
        ChartLibraryError: the chart library is another one.
    """
    return dict([*_own(), *_charts()])


@cache
def modules(*names: str) -> tuple[str, ...]:
    """Scripts and all that they import, for a page that wants them together instead of one after the other.

    >>> modules("gallery.js", "reading.js"), "plot_data.js" in modules("curves.js")
    (('gallery.js', 'reading.js'), True)
    """
    found: list[str] = []
    wanted = list(names)
    while wanted:
        name = wanted.pop(0)
        if name not in found:
            found.append(name)
            text = (files("app.dashboard") / "static" / name).read_text("utf-8")
            wanted += _IMPORTED.findall(text)
    return tuple(found)


def _own() -> Iterator[tuple[str, StaticFile]]:
    for entry in files("app.dashboard").joinpath("static").iterdir():
        kind = entry.name.rpartition(".")[2]
        if kind in MEDIA_TYPES:
            yield entry.name, _file(entry.read_bytes(), kind)


def _charts() -> Iterator[tuple[str, StaticFile]]:
    carrier = distribution(CARRIER)
    for name, (path, digest) in CHARTS.items():
        content = Path(str(carrier.locate_file(path))).read_bytes()
        found = hashlib.sha256(content).hexdigest()
        if found != digest:
            raise ChartLibraryError(
                f"{path} of {CARRIER} {carrier.version} has the SHA-256 {found}, but uPlot {UPLOT} has {digest}; "
                f"install the version of {CARRIER} that constraints.txt names"
            )
        yield name, _file(content, name.rpartition(".")[2], lasting=True)


def _file(content: bytes, kind: str, *, lasting: bool = False) -> StaticFile:
    return StaticFile(content, MEDIA_TYPES[kind], f'"{hashlib.sha256(content).hexdigest()[:32]}"', lasting)
