"""The exact gradient through a network's training on synthetic images, at constant memory.

A student takes N steps of SGD with momentum m on batches of the synthetic images,

    v_{i+1} = m v_i + g_i,   theta_{i+1} = theta_i - lr v_{i+1},   g_i = grad loss(S_i; theta_i),

and some loss L of theta_N is to be differentiated in S, in the labels and in lr. Unrolling keeps the graph
of all N steps. The adjoint keeps theta_0 ... theta_N and walks back with q_N = dL/dtheta_N, p_N = 0:

    p_i = m p_{i+1} + q_{i+1},   q_i = q_{i+1} - lr H_i p_i,
    dL/dS_i = -lr d<g_i, p_i>/dS_i,   dL/dlr = -sum_i <g_i, p_i>,

one double backward a step. With m = 0 this is the recursion for MTT, and -lr p is the r of the reverse pass of
Deng & Russakovsky ("Remember the Past", NeurIPS 2022, arXiv 2206.02916), which moves with lr and so needs no
division when lr is learned. TESLA (Cui et al., ICML 2023, arXiv 2211.10586) takes every H for zero.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

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


@dataclass(frozen=True)
class InnerSGD:
    """Training of a student that can be differentiated.

    Attributes:
        gradients: of the student's loss.
        batch: what each step trains on.
        steps: N, at least 1.
        lr: learning rate, a number or a scalar tensor; any sign.
        momentum: m, 0 to 1; 0 for MTT.
        window: how many of the last steps are differentiated; what the earlier ones arrive at, velocity included, is
            taken for a constant, and dL/dlr counts the gradients of these steps alone. ``None`` for all.
    """

    gradients: Gradients
    batch: Batch
    steps: int
    lr: float | Tensor
    momentum: float = 0.0
    window: int | None = None

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"{self.steps} steps of training; there must be at least 1")
        if self.window is not None and not 1 <= self.window <= self.steps:
            raise ValueError(f"a window of {self.window} of {self.steps} steps; choose 1 to {self.steps}")

    @property
    def differentiated(self) -> int:
        """Steps that are differentiated, the last ones."""
        return self.steps if self.window is None else self.window

    @torch.no_grad()
    def forward(self, start: Params, images: Tensor, labels: Tensor) -> list[Params]:
        """Train, and keep the way.

        Args:
            start: theta_0 and buffers; not changed.
            images: (n, C, H, W) synthetic images, or whatever ``batch`` takes.
            labels: (n,) int64 or (n, classes) probabilities.

        Returns:
            theta_0 ... theta_N with the buffers of ``start``, N + 1 of them, in the dtype of ``start``; the last of
            them with a window. They are all that grows with N.
        """
        names = self.gradients.names
        path = [{name: value.detach() for name, value in start.items()}]
        velocity = {name: torch.zeros_like(start[name]) for name in names}
        for index in range(self.steps):
            _, gradient = self.gradients.loss_and_gradient(path[-1], *self.batch(index, images, labels))
            velocity = {name: self.momentum * velocity[name] + gradient[name] for name in names}
            path.append({**path[-1], **{name: path[-1][name] - self.lr * velocity[name] for name in names}})
            del path[: -self.differentiated - 1]
        return path

    def unroll(self, start: Params, images: Tensor, labels: Tensor) -> Params:
        """Train in one graph of all steps: what :meth:`backward` is held against, its memory grows with N.

        Args:
            start: as for :meth:`forward`, like all that follow.
            images: differentiable.
            labels: differentiable where they are probabilities.

        Returns:
            theta_N and buffers, differentiable in the images, the labels and ``lr``.
        """
        names = self.gradients.names
        params = {**start, **{name: start[name].detach().requires_grad_() for name in names}}
        velocity = {name: torch.zeros_like(start[name]) for name in names}
        for index in range(self.steps):
            if self.steps - index == self.differentiated:
                params |= {name: params[name].detach().requires_grad_() for name in names}
                velocity = {name: value.detach() for name, value in velocity.items()}
            loss = self.gradients.mean_loss(params, *self.batch(index, images, labels))
            slopes = torch.autograd.grad(loss, [params[name] for name in names], create_graph=True)
            velocity = {name: self.momentum * velocity[name] + g for name, g in zip(names, slopes, strict=True)}
            params |= {name: params[name] - self.lr * velocity[name] for name in names}
        return params

    @torch.no_grad()
    def backward(
        self, path: Sequence[Params], final: Params, images: Tensor, labels: Tensor, *, curvature: bool = True
    ) -> OuterGradient:
        """Walk back from the slope of a loss in the trained parameters.

        Args:
            path: from :meth:`forward`, with the same images, labels and learning rate.
            final: dL/dtheta_N by parameter, for every trained parameter.
            images: as they were.
            labels: as they were.
            curvature: ``False`` takes every Hessian for zero. With momentum 0 that is the gradient of TESLA: cheaper,
                not the gradient of L (on a small problem 1.7 times too long, cosine 0.986).

        Returns:
            dL/dimages, dL/dlabels for probabilities, and dL/dlr, not counting what L itself makes of them.

        Raises:
            ValueError: the path has another number of steps.
        """
        if len(path) != self.differentiated + 1:
            raise ValueError(f"a path of {len(path) - 1} steps for a training of {self.differentiated}")
        learned = [images.detach().requires_grad_(), labels.detach().requires_grad_(labels.is_floating_point())]
        q = {name: final[name].detach() for name in self.gradients.names}
        p = {name: torch.zeros_like(value) for name, value in q.items()}
        lr_slope = torch.zeros((), dtype=images.dtype, device=images.device)
        for index, params in zip(reversed(range(self.steps)), reversed(path[:-1]), strict=False):
            p = {name: self.momentum * p[name] + q[name] for name in q}
            with torch.enable_grad():
                batch = self.batch(index, *learned)
            products = self.gradients.gradient_and_products(params, *batch, p, curvature=curvature)
            _accumulate(batch, (products.images, products.labels), -self.lr, learned)
            lr_slope -= products.inner
            if products.params is not None:
                q = {name: q[name] - self.lr * products.params[name] for name in q}
        return OuterGradient(_slope(learned[0]), _slope(learned[1]) if learned[1].requires_grad else None, lr_slope)


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
