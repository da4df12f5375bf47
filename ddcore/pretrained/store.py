"""Networks on disk under the hash of all that their weights depend on, so that jobs share what one of them trained."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ddcore.machine import capacity
from ddcore.machine.cache import note_use
from ddcore.machine.files import write_atomically
from ddcore.runtime.checkpoint import versions
from ddcore.runtime.context import Run

T = TypeVar("T")

MEMORY_SHARE = 0.5
"""Part of the free memory that trained networks may take; the rest is for the run."""


class NetworkStore:
    """One safetensors file for each trained network of one kind, in the folder that jobs share.

    Args:
        kind: what they are, in the singular; the folder is the plural.
        run: the run that needs them; without a shared folder nothing is kept.
        **identity: what the weights depend on besides the data, the arithmetic and the versions, as JSON values. Not
            the seed of the job, or jobs could not share.
    """

    def __init__(self, kind: str, run: Run, **identity: Any) -> None:
        self._kind = kind
        self._run = run
        self._identity = identity

    def digest(self) -> str:
        """SHA-256 of everything that the weights depend on except a network's place among its like."""
        run = self._run
        identity = {
            "data": run.dataset.digest,
            "whitened": run.dataset.whitening is not None,
            "mean": run.dataset.mean,
            "std": run.dataset.std,
            "precision": run.compute.precision,
            "compiled": run.compute.compiled,
            "own_kernels": run.compute.own_kernels,
            "device": run.compute.device.type,
            "versions": versions(),
            **self._identity,
        }
        return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()

    def room(self) -> tuple[int, str]:
        """Bytes that there are for more networks, and where that is, in words that a size can follow."""
        if self._run.cache is None:
            free = int(MEMORY_SHARE * capacity.free_memory(self._run.compute.device))
            return free, f"there is no cache to keep them in, and {MEMORY_SHARE:.0%} of the free memory is"
        return capacity.free_disk(self._run.cache), "the disk of the cache has"

    def names(self, index: int) -> tuple[str, ...]:
        """Names of a network's tensors, without reading them; none where they have to be made."""
        return self._look_up(index, lambda file: tuple(file.keys())) or ()

    def read(self, index: int, prefix: str = "") -> dict[str, Tensor] | None:
        """Tensors of a network, on the device of the run; nothing where they have to be made.

        Args:
            index: which network.
            prefix: only those whose name begins so, with the prefix taken off.
        """
        device = self._run.compute.device

        def tensors(file: Any) -> dict[str, Tensor]:
            names = [name for name in file.keys() if name.startswith(prefix)]  # noqa: SIM118 - not a mapping
            return {name.removeprefix(prefix): file.get_tensor(name).to(device) for name in names}

        return self._look_up(index, tensors)

    def write(self, index: int, tensors: Mapping[str, Tensor], *, replace: bool = True) -> bool:
        """Keep the tensors of a network, in the place of those there are or only where there are none.

        Returns:
            Whether no others are kept in their place.
        """
        path = self._path(index)
        if path is None:
            return True
        path.parent.mkdir(parents=True, exist_ok=True)
        data = save({k: v.detach().cpu().contiguous() for k, v in tensors.items()})
        return write_atomically(path, data, replace=replace)

    def keep_first(self, index: int, params: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Keep a network, unless another job has meanwhile.

        Returns:
            The one that is kept, the same for all jobs that ask at once, whose numbers a run that goes on will read.
        """
        earlier = self.read(index)
        if earlier is None and not self.write(index, params, replace=False):
            earlier = self.read(index)
        return earlier or dict(params)

    @cached_property
    def _folder(self) -> Path | None:
        cache = self._run.cache
        return None if cache is None else cache / f"{self._kind}s" / self.digest()

    def _path(self, index: int) -> Path | None:
        return None if self._folder is None else self._folder / f"{index:04d}.safetensors"

    def _look_up(self, index: int, read: Callable[[Any], T]) -> T | None:
        """What ``read`` makes of a network's file; nothing where there is none, or none that is whole."""
        path = self._path(index)
        if path is None:
            return None
        try:
            with safe_open(path, framework="pt") as file:
                note_use(path.parent)
                return read(file)
        except FileNotFoundError:
            return None
        except SafetensorError as error:
            message = f"a cached {self._kind} is damaged and will be trained again ({error})"
            self._run.callback.on_log("warning", message)
            path.unlink(missing_ok=True)
            return None
