"""The dashboard's style, scripts and icon, read once and served with an entity tag."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.resources import files

MEDIA_TYPES = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}


@dataclass(frozen=True)
class StaticFile:
    """One file as it is sent."""

    content: bytes
    media_type: str
    tag: str


def load() -> dict[str, StaticFile]:
    """Every file of the folder ``static``, by name."""
    found = {}
    for entry in files("app.dashboard").joinpath("static").iterdir():
        kind = entry.name.rpartition(".")[2]
        if kind in MEDIA_TYPES:
            content = entry.read_bytes()
            tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
            found[entry.name] = StaticFile(content, MEDIA_TYPES[kind], tag)
    return found
