"""Counts the images that a run really passes through networks, phase by phase."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from ddcore.nets.functional import Functional, Params
from ddcore.nets.network import Network, Tap
from ddcore.runtime.callback import Callback, Phase

Note = Callable[[float], None]


class Passes(Callback):
    """Observer that knows the phase, and what has been passed in each."""

    def __init__(self) -> None:
        self.phase = "pretraining"
        self.passes: defaultdict[str, float] = defaultdict(float)

    def on_phase(self, phase: Phase, total: int | None) -> None:
        self.phase = "pretraining" if phase == "loading" else phase

    def note(self, passes: float) -> None:
        self.passes[self.phase] += passes


class _Backward(torch.autograd.Function):
    """Identity of gradients that notes when it is gone back through itself."""

    @staticmethod
    def forward(ctx: Any, note: Note, images: int, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        ctx.note, ctx.images = note, images
        ctx.set_materialize_grads(False)
        return tuple(None if gradient is None else gradient.view_as(gradient) for gradient in gradients)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        ctx.note(4 * ctx.images)
        return (None, None, *gradients)


class _Forward(torch.autograd.Function):
    """Identity of what a network returns that notes when it is gone back through."""

    @staticmethod
    def forward(ctx: Any, note: Note, images: int, *outputs: Tensor) -> tuple[Tensor, ...]:
        ctx.note, ctx.images = note, images
        ctx.set_materialize_grads(False)
        return tuple(output.view_as(output) for output in outputs)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        ctx.note(2 * ctx.images)
        return (None, None, *_Backward.apply(ctx.note, ctx.images, *gradients))


@contextmanager
def counted(note: Note) -> Iterator[None]:
    """Have every uncompiled pass noted: an image forward is 1, backward 2, and back through its backward pass 4.

    Every pass of a network goes through :meth:`Functional._through`, also those that return statistics beside logits.
    """
    through = Functional._through

    def marked(self: Functional, template: Network, tap: Tap, params: Params, x: Tensor) -> tuple[Tensor, ...]:
        note(len(x))
        outputs: tuple[Tensor, ...] = _Forward.apply(note, len(x), *through(self, template, tap, params, x))
        return outputs

    with mock.patch.object(Functional, "_through", marked):
        yield
