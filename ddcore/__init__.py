"""ddcore: dataset distillation as a library.

Exports are lazy, so that importing :mod:`ddcore.spec` never loads torch.
"""

from __future__ import annotations

import importlib
from typing import Any

from ddcore.version import __version__

_EXPORTS = {
    "distill": "ddcore.engine",
    "run": "ddcore.engine",
    "load": "ddcore.bundle",
    "train_on": "ddcore.bundle",
    "score": "ddcore.bundle",
    "parse": "ddcore.spec",
}

__all__ = ["__version__", *_EXPORTS]


def __getattr__(name: str) -> Any:
    if name in _EXPORTS:
        return getattr(importlib.import_module(_EXPORTS[name]), name)
    raise AttributeError(f"module 'ddcore' has no attribute {name!r}")
