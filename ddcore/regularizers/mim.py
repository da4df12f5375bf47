"""MIM: raise a lower bound on the mutual information of real and synthetic activations.

Shang, Yuan & Yan, "MIM4DD: Mutual Information Maximization for Dataset Distillation", NeurIPS 2023
(arXiv 2312.16627). The authors released no code. Equations are numbered as there, but rebuilt from its text and
from the contrastive distillation it builds on (Tian et al., ICLR 2020), which the critic's heads follow, too.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor
from typing_extensions import override

from ddcore.formulas.information import Pairs, infonce_bound, layer_weights, nce_loss
from ddcore.nets.functional import Params
from ddcore.pretrained.teachers import teachers
from ddcore.registry import implements
from ddcore.runtime.context import Run
from ddcore.runtime.objective import Networks, Readings, Regularizer, Step
from ddcore.spec import MIMConfig
from ddcore.training.optimizers import Adam


class Critic:
    """The learned part of one layer's score: a linear head for each side, and the logit's offset.

    ``logit(i, j) = <g_S(a_i), g_R(a_j)> / tau + offset`` with heads to unit vectors. The offset is
    ``log(M / N)`` as printed in eq. 15 (``paper``); or minus the log of N times the mean of
    exp(Z / tau) over the first batch, which is what earlier code of the authors does (``frozen``);
    or starts there and is learned with the heads (``learned``).

    Args:
        dimensions: inputs of a head.
        config: temperature, projection and treatment of the offset.
        negatives: N.
        population: M.
        generator: source of the heads' initial weights, on their device.
    """

    def __init__(
        self, dimensions: int, config: MIMConfig, negatives: float, population: float, generator: torch.Generator
    ) -> None:
        self.config = config
        self.negatives = negatives
        bound = 1 / math.sqrt(dimensions)
        self.heads = [
            torch.empty(config.projection, dimensions, device=generator.device)
            .uniform_(-bound, bound, generator=generator)
            .requires_grad_()
            for _ in ("synthetic", "real")
        ]
        start = math.log(population / negatives) if config.critic_bias == "paper" else float("nan")
        self.offset = torch.tensor(start, device=generator.device, requires_grad=config.critic_bias == "learned")

    @property
    def learned(self) -> list[Tensor]:
        """Tensors that the heads' optimiser moves."""
        return [*self.heads, self.offset] if self.offset.requires_grad else self.heads

    def loss(self, synthetic: Tensor, real: Tensor, pairs: Pairs) -> Tensor:
        """Contrastive loss between activations (I, D) and (J, D), a scalar to minimise."""
        a, b = (F.normalize(F.linear(x, head), dim=1) for x, head in zip((synthetic, real), self.heads, strict=True))
        similarity = a @ b.T / self.config.temperature
        if self.config.objective == "infonce":
            return -infonce_bound(similarity, pairs)
        if bool(self.offset.isnan()):
            with torch.no_grad():
                mean = torch.logsumexp(similarity.flatten(), dim=0) - math.log(similarity.numel())
                self.offset.copy_(-mean - math.log(self.negatives))
        return nce_loss(similarity + self.offset, pairs, self.negatives)


@implements(MIMConfig)
class MIM(Regularizer[MIMConfig]):
    """Contrastive term between synthetic images and fresh real ones, under a teacher or the networks of the step.

    A method that trains networks offers them: the real images then pass through the expert's target (MTT) or the
    trained student (BPTT), the synthetic ones through the trained student. The real branch is never
    differentiated; the gradient reaches the images through the synthetic forward pass with the network fixed, and
    where asked for through the student's training as well. The heads follow the unweighted sum of the layers' losses
    with an optimiser of their own (Adam).
    """

    def __init__(self, config: MIMConfig, run: Run) -> None:
        super().__init__(config, run)
        self._pool = None if config.compares_students(run.spec.method) else teachers(config.teacher, run)
        self._functional = run.functional if self._pool is None else self._pool.functional

    @override
    def prepare(self) -> None:
        if self._pool is None:
            params = self._functional.new(torch.Generator(self.run.compute.device).manual_seed(0))
        else:
            self._pool.prepare()
            params = self._pool[0]
        probe = self.run.real_images(torch.zeros(1, dtype=torch.int64, device=self.run.compute.device))
        with torch.no_grad():
            sizes = [layer.shape[1] for layer in self._activations(params, probe)]
        classes = len(self.run.dataset.classes)
        negatives = self.config.negatives or classes - 1
        population = self.config.population or len(self.run.dataset.train.labels)
        generator = self.run.random.stream("mim/heads")
        self._critics = [Critic(size, self.config, negatives, population, generator) for size in sizes]
        self._weights = layer_weights(len(sizes), self.config.layer_decay)
        self._adam = Adam(self._learned, self.config.head_lr)

    @override
    def backward(self, step: Step, weight: float) -> Readings:
        synthetic, random = step.synthetic, self.run.random
        of_real, of_synthetic = self._networks(step)
        rows = self.run.sampler.draw(self.config.batch_real, random.host_stream("mim/real"))
        real_labels = torch.arange(synthetic.classes, device=synthetic.labels.device).repeat_interleave(rows.shape[1])
        with torch.no_grad():
            real = self._activations(of_real, self.run.real_images(rows.flatten()))
        activations = self._activations(of_synthetic, synthetic.images)
        pairs = Pairs.of(synthetic.labels, real_labels)

        leaves = [layer.detach().requires_grad_() for layer in activations]
        losses = [c.loss(a, b, pairs) for c, a, b in zip(self._critics, leaves, real, strict=True)]
        learned = self._learned
        gradients = torch.autograd.grad(sum(losses[1:], losses[0]), [*leaves, *learned], allow_unused=True)
        for tensor, gradient in zip(learned, gradients[len(leaves) :], strict=True):
            tensor.grad = gradient
        scaled = [weight * w * g for w, g in zip(self._weights, gradients[: len(leaves)], strict=True)]
        torch.autograd.backward(activations, scaled)
        self._pull_back(step, of_synthetic)
        total = sum(w * loss.detach() for w, loss in zip(self._weights, losses, strict=True))
        return {"loss/mim": torch.as_tensor(total)}

    @override
    def advance(self, step: Step) -> None:
        self._adam.step()

    @property
    def _learned(self) -> list[Tensor]:
        return [tensor for critic in self._critics for tensor in critic.learned]

    def _networks(self, step: Step) -> tuple[Params, Params]:
        """Parameters for the real and for the synthetic images; those of a student with gradients where wanted."""
        if self._pool is not None:
            teacher = self._pool.draw(self.run.random.host_stream("mim/teacher"))
            return teacher, teacher
        networks = self._of(step)
        student = dict(networks.synthetic)
        if self.config.path == "unrolled":
            student |= {name: student[name].detach().requires_grad_() for name in self._functional.names}
        return networks.real, student

    def _pull_back(self, step: Step, student: Params) -> None:
        """Take the slope that has gathered in the student through its training to the images."""
        if self.config.path == "unrolled":
            slope = {name: student[name] for name in self._functional.names}
            self._of(step).pull_back({n: torch.zeros_like(t) if t.grad is None else t.grad for n, t in slope.items()})

    def _of(self, step: Step) -> Networks:
        if step.networks is None:
            raise ValueError(f"`{self.run.spec.method.name}` is said to train networks, but its step has none")
        return step.networks

    def _activations(self, params: Params, images: Tensor) -> list[Tensor]:
        """One (N, D) float32 matrix for each compared layer."""
        taps = self._functional.taps(params, images, training=False)
        if self.config.layers == "last":
            return [taps.features]
        return [self._pooled(block) for block in taps.blocks]

    def _pooled(self, block: Tensor) -> Tensor:
        size = self.config.pool_to
        if size is not None and min(block.shape[2:]) > size:
            block = F.adaptive_avg_pool2d(block, size)
        return block.flatten(1)

    def _named(self) -> Iterator[tuple[str, Tensor]]:
        """Every tensor of the critics, those that are learned or not, under its name in a checkpoint."""
        for k, critic in enumerate(self._critics):
            for name, tensor in zip(("synthetic", "real", "offset"), [*critic.heads, critic.offset], strict=True):
                yield f"{k}/{name}", tensor

    @override
    def state(self) -> dict[str, Tensor]:
        places = {id(tensor): place for place, tensor in enumerate(self._learned)}
        tensors: dict[str, Tensor] = {}
        for name, tensor in self._named():
            tensors[name] = tensor.detach()
            for key, value in self._adam.velocity.get(places.get(id(tensor), -1), {}).items():
                tensors[f"{name}/adam/{key}"] = value
        return tensors

    @override
    @torch.no_grad()
    def load_state(self, state: Mapping[str, Tensor]) -> None:
        places = {id(tensor): place for place, tensor in enumerate(self._learned)}
        for name, tensor in self._named():
            tensor.copy_(state[name])
            prefix = f"{name}/adam/"
            moments = {key.removeprefix(prefix): v.clone() for key, v in state.items() if key.startswith(prefix)}
            if moments:
                self._adam.velocity[places[id(tensor)]] = moments
