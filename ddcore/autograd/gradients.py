"""Gradients of a network's mean loss, and derivatives of what is read off them.

Gradient matching, trajectory matching and truncated bilevel methods need few things from a network: the
gradient g(S, theta) of its mean loss on a batch S in its parameters theta, for each class or as a whole; the
slope of a distance D(g(S, theta), r) in the images; and the slopes of <g(S, theta), v> in images and
parameters, whose latter part is the Hessian times v. Here they are, each with the least work and memory:

* What needs first derivatives only, all of the real images, never builds a graph of second derivatives.
* Losses are means over images that a network treats one by one, so batches go through in pieces that fit
  the cache, exactly; only a distance needs its whole class at once.
* Second derivatives are nested ``torch.func`` transforms in one compiled function where the run compiles, and
  plain double backward otherwise: uncompiled, the transforms take a sixth more time and twice the memory
  (``python -m benchmarks second-order``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import grad, vmap

from ddcore.autograd.second_order import (
    BesideFrozen,
    Derivation,
    Readout,
    WeightedBatch,
    double_backward,
    nested_transforms,
)
from ddcore.formulas.gradient_distances import inner_product
from ddcore.machine.compiler import compile_for_each_shape
from ddcore.machine.compute import laid_out
from ddcore.nets.functional import Functional, Params, piece_size

Criterion = Callable[[Tensor, Tensor], Tensor]
"""Loss of each image (N,) from logits (N, classes) and labels."""


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy (N,) in nats; labels are int64 (N,) or probabilities (N, classes).

    >>> cross_entropy(torch.zeros(1, 2), torch.tensor([1])).exp()
    tensor([2.])
    """
    return F.cross_entropy(logits, labels, reduction="none")


class Products(NamedTuple):
    """The inner product <g, v> of a mean loss's gradient g with a vector v, and its slopes.

    Attributes:
        gradient: g, by parameter.
        inner: <g, v>, a scalar.
        images: d<g, v>/dS, shaped like the images.
        labels: d<g, v>/dy for labels that are probabilities, or ``None``.
        params: d<g, v>/dtheta = H v, by parameter, or ``None`` where it was not asked for.
    """

    gradient: Params
    inner: Tensor
    images: Tensor
    labels: Tensor | None
    params: Params | None


class Gradients:
    """Gradients of the mean loss of one architecture.

    Images are normalised, (N, C, H, W), float32 or float64 like the parameters; labels are int64 (N,) or,
    where the criterion takes them, probabilities (N, classes). Results have the dtype of the parameters, are
    constants, and depend on nothing but the arguments. The arguments are not changed and may require
    gradients; images that come out of an augmentation or a decoder are passed detached, and the result is
    passed on: ``augmented.backward(gradient)``.

    Args:
        functional: the architecture, with its precision and compilation.
        criterion: loss of each image; a function that lives as long as this object.
        names: parameters to differentiate in :meth:`loss_and_gradient` and :meth:`class_gradients`; all by default.
        training: whether batch normalisation uses the statistics of the batch given, which is then taken in one
            piece, instead of its running statistics (which main.py of github.com/VICO-UoE/DatasetCondensation
            freezes before it matches). The
            buffers are left alone either way. Other networks ignore it.
        vectorized: whether gradients of several classes come from one ``torch.func.vmap`` instead of a loop; by
            default on CUDA, where a loop waits for launches. On a CPU it is a fifth *slower* and takes three times
            the memory, because its grouped convolutions leave the fast kernels (``python -m benchmarks
            class-gradients``).
    """

    def __init__(
        self,
        functional: Functional,
        criterion: Criterion = cross_entropy,
        *,
        names: Sequence[str] | None = None,
        training: bool = False,
        vectorized: bool | None = None,
    ) -> None:
        self.functional = functional
        self.criterion = criterion
        self.names = tuple(functional.names if names is None else names)
        self._batch_statistics = training and not functional.per_sample
        if vectorized is None:
            vectorized = functional.compute.device.type == "cuda"
        self._vectorized = vectorized and not self._batch_statistics
        self._derivations: dict[tuple[Readout, bool, bool], Derivation] = {}

    def mean_loss(self, params: Params, images: Tensor, labels: Tensor) -> Tensor:
        """Mean loss, a scalar, in one graph that can be differentiated in all arguments and more than once."""
        weights = images.new_full((len(images),), 1 / len(images))
        return self._mean_loss(params, {}, WeightedBatch(images, labels, weights))

    def loss_and_gradient(self, params: Params, images: Tensor, labels: Tensor) -> tuple[Tensor, Params]:
        """Mean loss, a scalar, and its gradient by parameter, without a graph of second derivatives.

        Args:
            params: parameters and buffers.
            images: (N, C, H, W), N at least 1, taken :attr:`Functional.grad_piece` at a time.
            labels: of the images.
        """
        trained = {name: params[name].detach().requires_grad_() for name in self.names}
        state = {**self._constants(params), **trained}
        total = torch.zeros((), dtype=images.dtype, device=images.device)
        gradient: Params = {}
        for piece in self._pieces(images, labels):
            with torch.enable_grad():
                logits = self.functional.logits(state, piece.images, training=self._batch_statistics)
                loss = (piece.weights * self.criterion(logits, piece.labels)).sum()
            parts = torch.autograd.grad(loss, list(trained.values()))
            gradient = _added(gradient, dict(zip(trained, parts, strict=True)))
            total = total + loss.detach()
        return total, gradient

    def class_gradients(self, params: Params, images: Tensor, labels: Tensor, counts: Sequence[int]) -> Params:
        r"""Gradient of each class's mean loss, as DC takes it of real images.

        Args:
            params: parameters and buffers.
            images: (sum of counts, C, H, W), class after class.
            labels: of the images.
            counts: number of images of each of the G classes, each at least 1.

        Returns:
            By parameter, (G, \*shape of the parameter).

        Raises:
            ValueError: the counts are not of these images.
        """
        if sum(counts) != len(images) or min(counts, default=0) < 1:
            raise ValueError(f"counts {list(counts)} do not divide {len(images)} images into classes")
        if self._vectorized and len(set(counts)) == 1 and counts[0] <= self.functional.grad_piece:
            return self._vectorized_gradients(params, images, labels, len(counts))
        parts = zip(images.split(list(counts)), labels.split(list(counts)), strict=True)
        gradients = [self.loss_and_gradient(params, *part)[1] for part in parts]
        return {name: torch.stack([gradient[name] for gradient in gradients]) for name in self.names}

    def distance_gradient(
        self,
        params: Params,
        images: Tensor,
        labels: Tensor,
        target: Params,
        distance: Readout,
        *,
        moving: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """A distance between the gradient on a few images and a constant one, and its slope in the images.

        Called class by class, so that the graph of second derivatives is of one class (the classes share
        nothing but the constant parameters, so the sum of their distances has the same slope).

        Args:
            params: parameters and buffers.
            images: (n, C, H, W), the synthetic images of one class; taken in one piece.
            labels: of the images.
            target: the gradient to match, by parameter; its names say what is compared.
            distance: a function of :mod:`ddcore.formulas.gradient_distances`, or alike.
            moving: (n,) bool on the CPU, images whose slope is wanted; all by default. The others count in the
                gradient, and are spared the second derivatives where no batch normalisation couples them with the rest.

        Returns:
            The distance, a scalar, and d distance / d images, shaped like the images; zero where it is not wanted.
        """
        weights = images.new_full((len(images),), 1 / len(images))
        if moving is None or bool(moving.all()):
            batch = WeightedBatch(self._dense(images), labels, weights)
            value, _, slopes = self._derivation(distance)(*self._split(params, target), batch, target)
            return value, slopes.images
        if self._batch_statistics or not bool(moving.any()):
            value, slope = self.distance_gradient(params, images, labels, target, distance)
            return value, slope * moving.to(slope.device).view(-1, 1, 1, 1)
        of_frozen = self.loss_and_gradient(params, images[~moving], labels[~moving])[1]
        count = int(moving.sum())
        share = 1 - count / len(images)
        constant = BesideFrozen(target, {name: share * of_frozen[name] for name in target})
        # Few sizes occur, so that a compiled derivation is compiled for few of them.
        missing = piece_size(count, len(images)) - count if self.functional.compute.compiled else 0
        parts = (_padded(part[moving], missing) for part in (self._dense(images), labels, weights))
        batch = WeightedBatch(*parts)
        value, _, slopes = self._derivation(beside_frozen(distance))(*self._split(params, target), batch, constant)
        slope = torch.zeros_like(images)
        slope[moving] = slopes.images[:count]
        return value, slope

    def gradient_and_products(
        self, params: Params, images: Tensor, labels: Tensor, vector: Params, *, curvature: bool = True
    ) -> Products:
        """The gradient g of the mean loss, <g, v>, and the slopes of <g, v>, from one double backward.

        Args:
            params: parameters and buffers.
            images: (N, C, H, W), N at least 1, taken :attr:`Functional.grad_piece` at a time.
            labels: of the images.
            vector: v, by parameter; its names say which parameters take part.
            curvature: whether H v is needed as well.
        """
        soft = labels.is_floating_point()
        derivation = self._derivation(inner_product, soft=soft, curvature=curvature)
        trained, constants = self._split(params, vector)
        gradient: Params = {}
        of_params: Params = {}
        values, of_images, of_labels = [], [], []
        for piece in self._pieces(images, labels):
            value, part, slopes = derivation(trained, constants, piece, vector)
            values.append(value)
            gradient = _added(gradient, part)
            of_images.append(slopes.images)
            if slopes.labels is not None:
                of_labels.append(slopes.labels)
            if slopes.params is not None:
                of_params = _added(of_params, slopes.params)
        return Products(
            gradient=gradient,
            inner=torch.stack(values).sum(),
            images=torch.cat(of_images)[: len(images)],
            labels=torch.cat(of_labels)[: len(images)] if soft else None,
            params=of_params if curvature else None,
        )

    def _vectorized_gradients(self, params: Params, images: Tensor, labels: Tensor, classes: int) -> Params:
        trained, constants = self._split(params, self.names)
        size = len(images) // classes
        piece = WeightedBatch(
            self._dense(images).unflatten(0, (classes, size)),
            labels.unflatten(0, (classes, size)),
            images.new_full((classes, size), 1 / size),
        )
        one = grad(self._mean_loss)
        together = vmap(one, in_dims=(None, None, 0), chunk_size=max(1, self.functional.grad_piece // size))
        gradients: Params = together(trained, constants, piece)
        return gradients

    def _mean_loss(self, trained: Params, constants: Params, piece: WeightedBatch) -> Tensor:
        state = {**(_copied(constants) if self._batch_statistics else constants), **trained}
        (logits,) = self.functional.plain("logits", state, piece.images, training=self._batch_statistics)
        return (piece.weights * self.criterion(logits, piece.labels)).sum()

    def _dense(self, images: Tensor) -> Tensor:
        return laid_out(images.detach(), self.functional.compute.layout)

    def _constants(self, params: Params) -> Params:
        """Parameters and buffers that no pass may change or differentiate."""
        constants = {name: value.detach() for name, value in params.items()}
        return _copied(constants) if self._batch_statistics else constants

    def _split(self, params: Params, names: Sequence[str] | Mapping[str, Tensor]) -> tuple[Params, Params]:
        """The parameters with these names, and everything else."""
        trained = {name: params[name].detach() for name in names}
        return trained, {name: value.detach() for name, value in params.items() if name not in trained}

    def _pieces(self, images: Tensor, labels: Tensor) -> Iterator[WeightedBatch]:
        """Parts of a batch; those of a compiled pass have one size, filled with images of weight zero."""
        count = len(images)
        if len(labels) != count or count == 0:
            raise ValueError(f"{len(labels)} labels for {count} images; there must be one for each of at least one")
        images, weights = self._dense(images), images.new_full((count,), 1 / count)
        size = count if self._batch_statistics else self.functional.grad_piece
        if self.functional.compute.compiled and not self._batch_statistics:
            size = piece_size(count, size)
            missing = -count % size
            images, labels, weights = (_padded(tensor, missing) for tensor in (images, labels, weights))
        for part in zip(images.split(size), labels.split(size), weights.split(size), strict=True):
            yield WeightedBatch(*part)

    def _derivation(self, reading: Readout, *, soft: bool = False, curvature: bool = False) -> Derivation:
        key = (reading, soft, curvature)
        if key not in self._derivations:
            if self.functional.compute.compiled:
                self._derivations[key] = compile_for_each_shape(
                    nested_transforms(self._mean_loss, reading, labels=soft, params=curvature)
                )
            else:
                self._derivations[key] = double_backward(self._mean_loss, reading, labels=soft, params=curvature)
        return self._derivations[key]


@cache
def beside_frozen(distance: Readout) -> Readout:
    """A distance of what the moving images and the frozen ones give together.

    Args:
        distance: of the whole gradient from a plain constant one.
    """

    def of_whole(gradient: Params, constant: BesideFrozen) -> Tensor:
        return distance({name: value + constant.frozen[name] for name, value in gradient.items()}, constant.target)

    return of_whole


def _padded(tensor: Tensor, missing: int) -> Tensor:
    if not missing:
        return tensor
    return torch.cat([tensor, tensor.new_zeros((missing, *tensor.shape[1:]))])


def _copied(tensors: Params) -> Params:
    return {name: tensor.clone() for name, tensor in tensors.items()}


def _added(total: Params, part: Params) -> Params:
    """The sum by parameter; an empty ``total`` is zero."""
    return {name: total[name] + value for name, value in part.items()} if total else part
