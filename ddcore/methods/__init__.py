"""Distillation methods, one file each, read like the paper they come from.

A file here with a class decorated by :func:`ddcore.registry.implements` is found; nothing lists it.
"""

from __future__ import annotations

from typing import Any

from ddcore.errors import ConfigurationError
from ddcore.registry import implementation
from ddcore.runtime.context import Run
from ddcore.runtime.objective import Method, Producer
from ddcore.spec import MethodConfig


def build_producer(config: MethodConfig, run: Run) -> Producer[Any]:
    """The implementation of a method's or coreset's configuration, ready for ``run``: called with the two.

    Raises:
        ConfigurationError: nothing implements it, or this run cannot use it.
    """
    producer: Producer[Any] = implementation(config, __name__)(config, run)
    return producer


def build_method(config: MethodConfig, run: Run) -> Method[Any, Any]:
    """Likewise of a method that takes steps.

    Raises:
        ConfigurationError: as above, or it is a coreset.
    """
    producer = build_producer(config, run)
    if not isinstance(producer, Method):
        raise ConfigurationError(f"`{config.name}` keeps images as they are and takes no steps; choose another method")
    return producer
