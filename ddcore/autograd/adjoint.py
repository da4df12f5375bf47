"""The exact gradient through a network's training on synthetic images, at constant memory.

A student takes N steps on batches of the synthetic images, and some loss L of theta_N is to be differentiated in S, in
the labels and in lr. Unrolling keeps the graph of all N steps. The adjoint keeps theta_0 ... theta_N and walks back,
one double backward a step: from q_{i+1} = dL/dtheta_{i+1} the optimiser gives a vector p_i, with -lr p_i = dL/dg_i, and

    dL/dS_i = -lr d<g_i, p_i>/dS_i,   q_i = q_{i+1} - lr H_i p_i.

SGD with momentum m (:class:`InnerSGD`), v_{i+1} = m v_i + g_i and theta_{i+1} = theta_i - lr v_{i+1}, has

    p_i = m p_{i+1} + q_{i+1},   dL/dlr = -sum_i <g_i, p_i>.

With m = 0 this is the recursion for MTT, and -lr p is the r of the reverse pass of Deng & Russakovsky ("Remember the
Past", NeurIPS 2022, arXiv 2206.02916), which moves with lr and so needs no division when lr is learned. TESLA (Cui et
al., ICML 2023, arXiv 2211.10586) takes every H for zero. :class:`InnerAdam` has two moments, and keeps them as well.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, overload

import torch
from torch import Tensor
from typing_extensions import override

from ddcore.autograd.gradients import Gradients
from ddcore.nets.functional import Params

Batch = Callable[[int, Tensor, Tensor], tuple[Tensor, Tensor]]
"""(step, images, labels) -> the images and labels that this step trains on, differentiable in both arguments.

It chooses rows, augments, decodes. It is called twice for every step, forwards and backwards, and must
return the same both times: what it needs at random is drawn beforehand. Rows that must not move are taken
from a constant; steps that use nothing else cost no slope.
"""


@dataclass(frozen=True)
class OuterGradient:
    """Gradient of a loss of the trained parameters.

    Attributes:
        images: shaped like the synthetic images.
        labels: shaped like the labels where they are probabilities, else ``None``.
        lr: a scalar.
    """

    images: Tensor
    labels: Tensor | None
    lr: Tensor


Moments = tuple[Params, ...]
"""What an optimiser remembers of the gradients, a tensor for each trained parameter in each of them."""


class Path(Sequence[Params]):
    """Where a training came through: theta_0 ... theta_N with the buffers, or the last of them with a window.

    Attributes:
        moments: of the optimiser at each of these places; empty where the way back needs none.
    """

    def __init__(self, places: Sequence[Params], moments: Sequence[Moments]) -> None:
        self._places = tuple(places)
        self.moments = tuple(moments)

    @overload
    def __getitem__(self, index: int) -> Params: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Params]: ...

    @override
    def __getitem__(self, index: int | slice) -> Params | Sequence[Params]:
        return self._places[index]

    @override
    def __len__(self) -> int:
        return len(self._places)


class Slope(NamedTuple):
    """What an optimiser makes of the slopes behind one of its steps.

    Attributes:
        vector: p_i by parameter; dL/dg_i is -lr times it, and -lr <g_i, p_i> is differentiated in images and theta_i.
        carried: slopes of the moments, for the step before, in units of -lr too.
        lr: the part of this step in dL/dlr, a scalar; ``None`` for -<g_i, p_i>.
    """

    vector: Params
    carried: Moments
    lr: Tensor | None = None


@dataclass(frozen=True)
class InnerTraining(ABC):
    """Training of a student that can be differentiated, whatever its optimiser.

    Attributes:
        gradients: of the student's loss.
        batch: what each step trains on.
        steps: N, at least 1.
        lr: learning rate, a number or a scalar tensor; any sign.
        window: how many of the last steps are differentiated; what the earlier ones arrive at, moments included, is
            taken for a constant, and dL/dlr counts the gradients of these steps alone. ``None`` for all.
    """

    gradients: Gradients
    batch: Batch
    steps: int
    lr: float | Tensor
    window: int | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"{self.steps} steps of training; there must be at least 1")
        if self.window is not None and not 1 <= self.window <= self.steps:
            raise ValueError(f"a window of {self.window} of {self.steps} steps; choose 1 to {self.steps}")

    @property
    def differentiated(self) -> int:
        """Steps that are differentiated, the last ones."""
        return self.steps if self.window is None else self.window

    @property
    @abstractmethod
    def moments(self) -> int:
        """How many moments of the gradient the optimiser has."""

    @abstractmethod
    def moved(self, index: int, weights: Params, moments: Moments, gradient: Params) -> tuple[Params, Moments]:
        """Take one step, differentiably.

        Args:
            index: steps taken before.
            weights: the trained parameters.
            moments: of the gradients before.
            gradient: by parameter.
        """

    @abstractmethod
    def kept(self, moments: Moments) -> Moments:
        """What the way back needs of the moments at a place."""

    @abstractmethod
    def pulled(self, index: int, q: Params, carried: Moments, before: Moments, after: Moments) -> Slope:
        """Take slopes back through one step, up to its gradient.

        Args:
            index: steps taken before.
            q: dL/dtheta after the step, by parameter.
            carried: from the step behind; zero for the last one.
            before: what was kept of the moments before the step.
            after: what was kept of them after it.
        """

    @torch.no_grad()
    def forward(
        self, start: Params, images: Tensor, labels: Tensor, *, seen: Callable[[Params], object] | None = None
    ) -> Path:
        """Train, and keep the way.

        Args:
            start: theta_0 and buffers; not changed.
            images: (n, C, H, W) synthetic images, or whatever ``batch`` takes.
            labels: (n,) int64 or (n, classes) probabilities.
            seen: is given the gradient of each step, before the step.

        Returns:
            theta_0 ... theta_N with the buffers of ``start``, N + 1 of them, in the dtype of ``start``; the last of
            them with a window. They, and the moments of Adam, are all that grows with N.
        """
        places = [{name: value.detach() for name, value in start.items()}]
        moments = self._at_rest(start)
        kept = [self.kept(moments)]
        for index in range(self.steps):
            _, gradient = self.gradients.loss_and_gradient(places[-1], *self.batch(index, images, labels))
            if seen is not None:
                seen(gradient)
            weights, moments = self.moved(index, self._trained(places[-1]), moments, gradient)
            places.append({**places[-1], **weights})
            kept.append(self.kept(moments))
            del places[: -self.differentiated - 1], kept[: -self.differentiated - 1]
        return Path(places, kept)

    def unroll(self, start: Params, images: Tensor, labels: Tensor) -> Params:
        """Train in one graph of all steps: what :meth:`backward` is held against, its memory grows with N.

        Args:
            start: as for :meth:`forward`, like all that follow.
            images: differentiable.
            labels: differentiable where they are probabilities.

        Returns:
            theta_N and buffers, differentiable in the images, the labels and ``lr``.
        """
        params = {**start, **{name: value.detach().requires_grad_() for name, value in self._trained(start).items()}}
        moments = self._at_rest(start)
        for index in range(self.steps):
            if self.steps - index == self.differentiated:
                params |= {name: value.detach().requires_grad_() for name, value in self._trained(params).items()}
                moments = tuple({name: value.detach() for name, value in moment.items()} for moment in moments)
            trained = self._trained(params)
            loss = self.gradients.mean_loss(params, *self.batch(index, images, labels))
            slopes = torch.autograd.grad(loss, list(trained.values()), create_graph=True)
            weights, moments = self.moved(index, trained, moments, dict(zip(trained, slopes, strict=True)))
            params |= weights
        return params

    @torch.no_grad()
    def backward(
        self, path: Path, final: Params, images: Tensor, labels: Tensor, *, curvature: bool = True
    ) -> OuterGradient:
        """Walk back from the slope of a loss in the trained parameters.

        Args:
            path: from :meth:`forward`, with the same images, labels and learning rate.
            final: dL/dtheta_N by parameter, for every trained parameter.
            images: as they were.
            labels: as they were.
            curvature: ``False`` takes every Hessian for zero. With SGD without momentum that is the gradient of TESLA:
                cheaper, not the gradient of L (on a small problem 1.7 times too long, cosine 0.986).

        Returns:
            dL/dimages, dL/dlabels for probabilities, and dL/dlr, not counting what L itself makes of them.

        Raises:
            ValueError: the path has another number of steps.
        """
        if len(path) != self.differentiated + 1:
            raise ValueError(f"a path of {len(path) - 1} steps for a training of {self.differentiated}")
        learned = [images.detach().requires_grad_(), labels.detach().requires_grad_(labels.is_floating_point())]
        q = {name: final[name].detach() for name in self.gradients.names}
        carried = self._at_rest(q)
        lr_slope = torch.zeros((), dtype=images.dtype, device=images.device)
        for place, index in zip(reversed(range(self.differentiated)), reversed(range(self.steps)), strict=False):
            p, carried, of_step = self.pulled(index, q, carried, path.moments[place], path.moments[place + 1])
            with torch.enable_grad():
                batch = self.batch(index, *learned)
            products = self.gradients.gradient_and_products(path[place], *batch, p, curvature=curvature)
            _accumulate(batch, (products.images, products.labels), -self.lr, learned)
            lr_slope += -products.inner if of_step is None else of_step
            if products.params is not None:
                q = {name: q[name] - self.lr * products.params[name] for name in q}
        return OuterGradient(_slope(learned[0]), _slope(learned[1]) if learned[1].requires_grad else None, lr_slope)

    def _trained(self, params: Params) -> Params:
        return {name: params[name] for name in self.gradients.names}

    def _at_rest(self, params: Params) -> Moments:
        """Moments of no gradient yet."""
        return tuple(
            {name: torch.zeros_like(value) for name, value in self._trained(params).items()}
            for _ in range(self.moments)
        )


@dataclass(frozen=True)
class InnerSGD(InnerTraining):
    """Training by SGD with momentum.

    Attributes:
        momentum: m, 0 to 1; 0 for MTT.
    """

    momentum: float = 0.0
    moments = 1

    @override
    def moved(self, index: int, weights: Params, moments: Moments, gradient: Params) -> tuple[Params, Moments]:
        (velocity,) = moments
        velocity = {name: self.momentum * velocity[name] + gradient[name] for name in weights}
        return {name: value - self.lr * velocity[name] for name, value in weights.items()}, (velocity,)

    @override
    def kept(self, moments: Moments) -> Moments:
        """Nothing: a step is linear in the velocity."""
        return ()

    @override
    def pulled(self, index: int, q: Params, carried: Moments, before: Moments, after: Moments) -> Slope:
        p = {name: self.momentum * carried[0][name] + q[name] for name in q}
        return Slope(p, (p,))


@dataclass(frozen=True)
class InnerAdam(InnerTraining):
    """Training by Adam (Kingma & Ba, ICLR 2015, arXiv 1412.6980), without weight decay.

    Step i, with t = i + 1, is that of :class:`torch.optim.Adam`:

        m_{i+1} = b1 m_i + (1 - b1) g_i,   v_{i+1} = b2 v_i + (1 - b2) g_i^2,
        theta_{i+1} = theta_i - lr u_i,   u_i = m_{i+1} / (1 - b1^t) / (s + eps),   s = sqrt(v_{i+1} / (1 - b2^t)).

    Backwards, with slopes a of m and b of v in units of -lr, zero at the end:

        a <- a + q / (1 - b1^t) / (s + eps),   b <- b - q u_i / (s + eps) ds/dv,   ds/dv = 1 / (2 s (1 - b2^t)),
        p_i = (1 - b1) a + 2 (1 - b2) g_i b,   dL/dlr = -sum_i <q_{i+1}, u_i>,   a <- b1 a,   b <- b2 b.

    Epsilon stands outside the root, whose slope is infinite at zero. An entry is there only while all of its gradients
    were zero; then m and u are zero too, ds/dv is multiplied by them, and is taken for zero. What is left, 1 / eps, is
    the slope of g / (abs(g) + eps) at zero. The gradient g_i is read off the two first moments.

    Attributes:
        betas: b1 and b2, from 0 on and below 1.
        eps: above 0.
    """

    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    moments = 2

    @override
    def __post_init__(self) -> None:
        super().__post_init__()
        if not all(0 <= beta < 1 for beta in self.betas) or self.eps <= 0:
            raise ValueError(f"betas {self.betas} and eps {self.eps}; betas lie from 0 on and below 1, eps above 0")

    @override
    def moved(self, index: int, weights: Params, moments: Moments, gradient: Params) -> tuple[Params, Moments]:
        (b1, b2), (mean, square) = self.betas, moments
        mean = {name: b1 * mean[name] + (1 - b1) * g for name, g in gradient.items()}
        square = {name: b2 * square[name] + (1 - b2) * g.square() for name, g in gradient.items()}
        update = self._updates(index, mean, square)
        return {name: value - self.lr * update[name] for name, value in weights.items()}, (mean, square)

    @override
    def kept(self, moments: Moments) -> Moments:
        return moments

    @override
    def pulled(self, index: int, q: Params, carried: Moments, before: Moments, after: Moments) -> Slope:
        (b1, b2), (of_mean, of_square) = self.betas, carried
        first, second = self._corrections(index)
        update = self._updates(index, *after)
        p: Params = {}
        lr_parts = []
        carried_mean, carried_square = {}, {}
        for name, slope in q.items():
            scale = _root(after[1][name] / second)
            below = scale + self.eps
            slope_of_root = torch.where(scale > 0, 1 / (2 * second * torch.where(scale > 0, scale, 1)), 0)
            a = of_mean[name] + slope / (first * below)
            b = of_square[name] - slope * update[name] / below * slope_of_root
            gradient = (after[0][name] - b1 * before[0][name]) / (1 - b1)
            p[name] = (1 - b1) * a + 2 * (1 - b2) * gradient * b
            carried_mean[name], carried_square[name] = b1 * a, b2 * b
            lr_parts.append((slope * update[name]).sum())
        return Slope(p, (carried_mean, carried_square), -torch.stack(lr_parts).sum())

    def _corrections(self, index: int) -> tuple[float, float]:
        """1 - b1^t and 1 - b2^t."""
        return 1 - self.betas[0] ** (index + 1), 1 - self.betas[1] ** (index + 1)

    def _updates(self, index: int, mean: Params, square: Params) -> Params:
        """u_i by parameter, from the moments after the step."""
        first, second = self._corrections(index)
        return {name: mean[name] / first / (_root(square[name] / second) + self.eps) for name in mean}


def _root(x: Tensor) -> Tensor:
    """The square root of what is not negative, whose slope is zero at zero."""
    positive = x > 0
    return torch.where(positive, torch.where(positive, x, 1).sqrt(), 0)


def _accumulate(
    batch: tuple[Tensor, Tensor], slopes: tuple[Tensor, Tensor | None], factor: float | Tensor, leaves: list[Tensor]
) -> None:
    """Take the slopes of one step through its batch function to the leaves."""
    pairs = [(t, factor * s) for t, s in zip(batch, slopes, strict=True) if t.requires_grad and s is not None]
    if pairs:
        outputs, upstream = zip(*pairs, strict=True)
        torch.autograd.backward(outputs, upstream, inputs=[leaf for leaf in leaves if leaf.requires_grad])


def _slope(leaf: Tensor) -> Tensor:
    return torch.zeros_like(leaf) if leaf.grad is None else leaf.grad
