"""An order for the fields of a stored document: PostgreSQL keeps those of JSON objects in an order of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def ordered_like(document: Any, pattern: Any = None) -> Any:
    """The same document with its fields in one order, whatever order they were stored in.

    Args:
        document: JSON.
        pattern: a document with fields in the order wanted; others follow it by name, ``name`` before them.

    >>> ordered_like({"seed": 0, "method": {"lr": 1, "name": "dm"}, "ipc": 2}, {"ipc": 1, "method": None})
    {'ipc': 2, 'method': {'name': 'dm', 'lr': 1}, 'seed': 0}
    """
    if isinstance(document, list):
        patterns = pattern if isinstance(pattern, list) and len(pattern) == len(document) else [None] * len(document)
        return [ordered_like(item, like) for item, like in zip(document, patterns, strict=True)]
    if not isinstance(document, Mapping):
        return document
    known = pattern if isinstance(pattern, Mapping) else {}
    others = sorted((name for name in document if name not in known), key=lambda name: (name != "name", name))
    names = [*(name for name in known if name in document), *others]
    return {name: ordered_like(document[name], known.get(name)) for name in names}
