"""Labelled images: where they come from and how they are drawn.

Exports are lazy, so that a process that only decodes images never loads torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ddcore.data.dataset import Dataset, ImageSet
    from ddcore.data.sources import load

_EXPORTS = {"Dataset": "ddcore.data.dataset", "ImageSet": "ddcore.data.dataset", "load": "ddcore.data.sources"}

__all__ = ["Dataset", "ImageSet", "load"]


def __getattr__(name: str) -> Any:
    if name in _EXPORTS:
        return getattr(importlib.import_module(_EXPORTS[name]), name)
    raise AttributeError(f"module 'ddcore.data' has no attribute {name!r}")
