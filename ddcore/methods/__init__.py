"""Distillation methods, one file each, read like the paper they come from.

A file here with a class decorated by :func:`ddcore.registry.implements` is found; nothing lists it.
"""

from __future__ import annotations

from typing import Any

from ddcore.registry import implementation
from ddcore.runtime.context import Run
from ddcore.runtime.objective import Method
from ddcore.spec import MethodConfig


def build_method(config: MethodConfig, run: Run) -> Method[Any, Any]:
    """The implementation of a method's configuration, ready for ``run``: called with the two.

    Raises:
        ConfigurationError: nothing implements it, or this run cannot use it.
    """
    method: Method[Any, Any] = implementation(config, __name__)(config, run)
    return method
