"""Derivatives of what is read off a gradient, in two ways that give the same numbers.

A *derivation* computes the gradient g of a mean loss in the parameters, a scalar reading of it (a distance, an
inner product with a constant), and the slopes of the reading in the images, and where asked in the labels and the
parameters.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.func import grad, grad_and_value

from ddcore.nets.functional import Params


class WeightedBatch(NamedTuple):
    """Images with their labels and their weights in the loss.

    Attributes:
        images: (N, C, H, W) normalised.
        labels: (N,) int64, or (N, classes) probabilities.
        weights: (N,), 1/N each for a mean; zero for images that only fill up a batch.
    """

    images: Tensor
    labels: Tensor
    weights: Tensor


class Slopes(NamedTuple):
    """Derivatives of a reading.

    Attributes:
        images: shaped like the images.
        labels: shaped like the labels, or ``None`` where not asked for.
        params: by parameter, or ``None`` where not asked for.
    """

    images: Tensor
    labels: Tensor | None
    params: Params | None


MeanLoss = Callable[[Params, Params, WeightedBatch], Tensor]
"""(differentiated parameters, other parameters and buffers, batch) -> weighted sum of the losses."""


class BesideFrozen(NamedTuple):
    """The constants of a reading of what moving and frozen images give together.

    Attributes:
        target: the gradient to compare with, by parameter.
        frozen: what the frozen images add to the gradient, by parameter.
    """

    target: Params
    frozen: Params


Constant = Params | BesideFrozen
"""What a reading compares a gradient with."""

Readout = Callable[[Params, Any], Tensor]
"""(gradient, its :data:`Constant`) -> scalar; with a plain gradient as in :mod:`ddcore.formulas.gradient_distances`."""

Derivation = Callable[[Params, Params, WeightedBatch, Constant], tuple[Tensor, Params, Slopes]]
"""(differentiated parameters, others, batch, constant of the reading) -> (reading, gradient, slopes), all constants."""


def nested_transforms(mean_loss: MeanLoss, reading: Readout, *, labels: bool, params: bool) -> Derivation:
    """A derivation as nested ``torch.func`` transforms, which ``torch.compile`` takes whole.

    Args:
        mean_loss: the loss.
        reading: what is read off its gradient.
        labels: whether the slope in the labels is wanted.
        params: whether the slope in the parameters is wanted.
    """
    argnums = (0, *((1,) if labels else ()), *((2,) if params else ()))

    def derive(
        trained: Params, others: Params, batch: WeightedBatch, constant: Constant
    ) -> tuple[Tensor, Params, Slopes]:
        def read(images: Tensor, labels: Tensor, trained: Params) -> tuple[Tensor, Params]:
            gradient = grad(mean_loss)(trained, others, WeightedBatch(images, labels, batch.weights))
            return reading(gradient, constant), gradient

        slopes, (value, gradient) = grad_and_value(read, argnums, has_aux=True)(batch.images, batch.labels, trained)
        return value, gradient, Slopes(slopes[0], slopes[1] if labels else None, slopes[-1] if params else None)

    return derive


def double_backward(mean_loss: MeanLoss, reading: Readout, *, labels: bool, params: bool) -> Derivation:
    """The same by walking twice over one graph, which is faster without compilation.

    Args:
        mean_loss: as in :func:`nested_transforms`, like all that follow.
        reading: what is read off its gradient.
        labels: whether the slope in the labels is wanted.
        params: whether the slope in the parameters is wanted.
    """

    @torch.enable_grad()
    def derive(
        trained: Params, others: Params, batch: WeightedBatch, constant: Constant
    ) -> tuple[Tensor, Params, Slopes]:
        leaves = {name: value.detach().requires_grad_() for name, value in trained.items()}
        images, targets = batch.images.detach().requires_grad_(), batch.labels.detach().requires_grad_(labels)
        loss = mean_loss(leaves, others, WeightedBatch(images, targets, batch.weights))
        gradient = dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values()), create_graph=True), strict=True))
        value = reading(gradient, constant)
        inputs = [images, *([targets] if labels else ()), *(leaves.values() if params else ())]
        slopes = torch.autograd.grad(value, inputs, materialize_grads=True)
        of_params = dict(zip(leaves, slopes[-len(leaves) :], strict=True)) if params else None
        constants = {name: part.detach() for name, part in gradient.items()}
        return value.detach(), constants, Slopes(slopes[0], slopes[1] if labels else None, of_params)

    return derive
