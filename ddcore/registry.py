"""Which class or function implements a configuration.

Every kind has a package whose modules are imported when something of that kind is first built, so an implementation is
found by being in a file there. Another distribution names its module of implementations by an entry point in the group
``ddservice.implementations``; it is loaded when a configuration is built that nothing else implements.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

from ddcore.errors import ConfigurationError
from ddcore.spec import discovery

GROUP = "ddservice.implementations"
"""Entry points that name the modules of other distributions."""

_IMPLEMENTATIONS: dict[type, Callable[..., Any]] = {}

T = TypeVar("T", bound=Callable[..., Any])


def implements(config_class: type) -> Callable[[T], T]:
    """Decorator: this class or function makes what ``config_class`` describes.

    What it is called with depends on the kind; see ``build`` of the kind's package.

    Raises:
        ValueError: another one already does.
    """

    def register(made_by: T) -> T:
        known = _IMPLEMENTATIONS.get(config_class)
        if known is not None and (known.__module__, known.__qualname__) != (made_by.__module__, made_by.__qualname__):
            raise ValueError(
                f"{config_class.__name__} is already implemented by {known.__qualname__} of {known.__module__}"
            )
        _IMPLEMENTATIONS[config_class] = made_by
        return made_by

    return register


def implementation(config: object, package: str) -> Callable[..., Any]:
    """What makes the thing that a configuration describes.

    Args:
        config: an instance of a class that something is decorated with :func:`implements` for.
        package: name of the package that holds the implementations of this kind.

    Raises:
        ConfigurationError: nothing implements it; the message names what could not be loaded.
    """
    wanted = type(config)
    if wanted not in _IMPLEMENTATIONS:
        import_all(package)
    if wanted not in _IMPLEMENTATIONS:
        load_others()
    try:
        return _IMPLEMENTATIONS[wanted]
    except KeyError:
        raise ConfigurationError(_nothing_implements(config, package)) from None


@cache
def load_others() -> None:
    """Load the implementations of other distributions; those that cannot be are in ``discovery.broken()``."""
    discovery.load_offers(GROUP, lambda _, load: load())


@cache
def import_all(package: str) -> None:
    """Import the implementations of a kind, once.

    Args:
        package: name of the package that holds them.
    """
    discovery.import_modules(package, importlib.import_module(package).__path__)


def _nothing_implements(config: object, package: str) -> str:
    wanted = type(config)
    left_out = [str(one) for one in discovery.broken() if one.group in (GROUP, "")]
    detail = (
        f"nothing implements `{getattr(config, 'name', wanted.__name__)}`: decorate its class with "
        f"@implements({wanted.__name__}), in a file of {package} or in a module that an entry point in {GROUP} names"
    )
    return "; ".join([detail, *left_out])
