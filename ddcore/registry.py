"""Which class implements a configuration. Adding a method or regulariser edits nothing but its file.

Modules of :mod:`ddcore.methods` and :mod:`ddcore.regularizers` are imported when first needed;
other distributions join through the entry-point group ``ddcore.plugins``.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from functools import cache
from importlib.metadata import entry_points
from typing import Any, TypeVar

from ddcore.runtime.context import Run
from ddcore.runtime.objective import Producer, Regularizer
from ddcore.spec import MethodConfig, RegularizerConfig

_IMPLEMENTATIONS: dict[type, type] = {}

T = TypeVar("T", bound="type[Producer[Any]] | type[Regularizer[Any]]")


def implements(config_class: type[MethodConfig] | type[RegularizerConfig]) -> Callable[[T], T]:
    """Class decorator: this method or regulariser implements ``config_class``.

    Raises:
        ValueError: another class already does.
    """

    def register(cls: T) -> T:
        known = _IMPLEMENTATIONS.get(config_class)
        if known is not None and known.__qualname__ != cls.__qualname__:
            raise ValueError(f"{config_class.__name__} is already implemented by {known.__qualname__}")
        _IMPLEMENTATIONS[config_class] = cls
        return cls

    return register


def build_method(config: MethodConfig, run: Run) -> Producer[Any]:
    """The implementation of a method's configuration, ready for ``run``."""
    producer: Producer[Any] = _implementation(config)(config, run)
    return producer


def build_regularizer(config: RegularizerConfig, run: Run) -> Regularizer[Any]:
    """The implementation of a regulariser's configuration, ready for ``run``."""
    regularizer: Regularizer[Any] = _implementation(config)(config, run)
    return regularizer


def _implementation(config: MethodConfig | RegularizerConfig) -> type:
    if type(config) not in _IMPLEMENTATIONS:
        _load_all()
    try:
        return _IMPLEMENTATIONS[type(config)]
    except KeyError:
        raise LookupError(f"no class implements {type(config).__name__}; decorate one with @implements") from None


@cache
def _load_all() -> None:
    for package_name in ("ddcore.methods", "ddcore.regularizers"):
        package = importlib.import_module(package_name)
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{package_name}.{module.name}")
    for plugin in entry_points(group="ddcore.plugins"):
        plugin.load()
