"""Measures how many bytes of tensors a piece of work holds at once."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from typing_extensions import override


class PeakMemory(TorchDispatchMode):
    """Context that sums up the storages that operations take and give, until each of them is freed.

    Forward, backward and optimiser are seen alike. What a single operation needs inside itself is not.

    Attributes:
        peak: largest sum of bytes so far.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call] # the framework has no types here
        self.peak = self._held = 0
        self._known: set[int] = set()

    @override
    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in _tensors((args, result)):
            self._note(tensor.untyped_storage())
        return result

    def _note(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key in self._known:
            return
        self._known.add(key)
        size = storage.nbytes()
        self._held += size
        self.peak = max(self.peak, self._held)
        weakref.finalize(storage, self._forget, key, size)

    def _forget(self, key: int, size: int) -> None:
        self._known.discard(key)
        self._held -= size


def _tensors(values: object) -> Iterator[Tensor]:
    """Tensors with memory of their own in nested tuples and lists."""
    if isinstance(values, Tensor):
        if values.device.type == "cpu":
            yield values
    elif isinstance(values, (tuple, list)):
        for value in values:
            yield from _tensors(value)
