"""Where the randomness of a run comes from: named streams of one seed.

Every consumer draws from a stream of its own, so that adding a regulariser or a report leaves the
draws of the method untouched: two jobs that differ only in a regulariser see the same networks,
batches and augmentations, and can be compared pairwise.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor


def stream_seed(seed: int, name: str) -> int:
    """Seed of a stream, a 63-bit hash of the run's seed and the stream's name.

    >>> stream_seed(0, "method") != stream_seed(0, "probe")
    True
    """
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


class Randomness:
    """Explicit generators by name, created on first use and saved in checkpoints."""

    def __init__(self, seed: int, device: torch.device) -> None:
        self.seed = seed
        self.device = device
        self._streams: dict[str, torch.Generator] = {}

    def stream(self, name: str) -> torch.Generator:
        """The generator called ``name``, on the device of the run: for tensors that live there."""
        return self._generator(name, self.device)

    def host_stream(self, name: str) -> torch.Generator:
        """The generator called ``name``, on the CPU: for choices that the host has to know."""
        return self._generator("host/" + name, torch.device("cpu"))

    def _generator(self, name: str, device: torch.device) -> torch.Generator:
        if name not in self._streams:
            self._streams[name] = torch.Generator(device).manual_seed(stream_seed(self.seed, name))
        return self._streams[name]

    def state(self) -> dict[str, Tensor]:
        """State of every stream used so far, as uint8 tensors by stream name."""
        return {name: generator.get_state() for name, generator in self._streams.items()}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Continue every stream of ``state`` where it was; streams it does not hold start afresh."""
        self._streams.clear()
        for name, value in state.items():
            device = torch.device("cpu") if name.startswith("host/") else self.device
            self._generator(name, device).set_state(value.cpu())
