"""Terms that pull on the synthetic images beside the method, one file each.

A file here with a class decorated by :func:`ddcore.registry.implements` is found; nothing lists it.
"""

from __future__ import annotations

from typing import Any

from ddcore.registry import implementation
from ddcore.runtime.context import Run
from ddcore.runtime.objective import Regularizer
from ddcore.spec import RegularizerConfig


def build_regularizer(config: RegularizerConfig, run: Run) -> Regularizer[Any]:
    """The implementation of a regulariser's configuration, ready for ``run``: called with the two.

    Raises:
        ConfigurationError: nothing implements it, or this run cannot use it.
    """
    regularizer: Regularizer[Any] = implementation(config, __name__)(config, run)
    return regularizer
