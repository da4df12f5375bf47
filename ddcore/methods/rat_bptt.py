"""RaT-BPTT: differentiate through a random window of a network's training on the synthetic images, not all of it.

Feng, Vedantam & Kempe, "Embarrassingly Simple Dataset Distillation", ICLR 2024 (arXiv 2311.07025); Li et al., "Beyond
Random: Automatic Inner-loop Optimization in Dataset Distillation", 2025 (arXiv 2510.04838).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor
from typing_extensions import override

from ddcore.augment import siamese
from ddcore.autograd.adjoint import InnerAdam
from ddcore.autograd.gradients import Gradients
from ddcore.errors import DivergedError
from ddcore.methods.shared.student_training import (
    QueryStep,
    check_classes_per_step,
    drawn_classes,
    drawn_rows,
    query_step,
    training_on,
)
from ddcore.methods.shared.truncation import Bounds, Stages, Window, early_window, late_window
from ddcore.nets.functional import Params
from ddcore.registry import implements
from ddcore.runtime.context import Run
from ddcore.runtime.objective import Method, Readings
from ddcore.spec import RatBPTTConfig
from ddcore.synthetic.adam import LearnedByAdam
from ddcore.synthetic.clipping import RunningClip
from ddcore.synthetic.initial import unit_normal
from ddcore.synthetic.set import SyntheticSet


@implements(RatBPTTConfig)
class RatBPTT(Method[RatBPTTConfig, QueryStep]):
    """Back-propagation through a window of the training of a fresh network by Adam, to its loss on real images.

    A network takes k steps that are constants, then M that are differentiated; no step follows. Each of them, and the
    real batch, has an augmentation of its own.
    """

    def __init__(self, config: RatBPTTConfig, run: Run) -> None:
        super().__init__(config, run)
        check_classes_per_step(config.classes_per_step, run)
        self._classes = len(run.dataset.classes)
        self._gradients = Gradients(run.functional, training=True)
        self._bounds = Bounds(config.student_steps, config.min_start)
        batch = sum(min(config.batch_real, count) for count in run.sampler.counts)
        self._stages = Stages(config.student_steps, -(-sum(run.sampler.counts) // batch))

    @override
    def start(self) -> SyntheticSet:
        run, config, decoder = self.run, self.config, self.run.decoder()
        others = {}
        if config.labels == "learned":
            classes = torch.arange(self._classes).repeat_interleave(run.spec.ipc)
            one_hot = F.one_hot(classes, self._classes).float().to(run.compute.device)
            others["labels"] = LearnedByAdam(one_hot, lr=config.label_rate, lowest=0.0)
        if run.spec.init == "noise":
            rows, shape = self._classes * run.spec.ipc, decoder.row_shape(run.dataset.shape)
            stored = unit_normal(rows, shape, run.random.host_stream("init")).to(run.compute.device)
        else:
            stored = run.starting_images(decoder)
        return SyntheticSet(
            stored,
            run.spec.ipc,
            lr=config.lr_img,
            decoder=decoder,
            others=others,
            learned_by=LearnedByAdam,
            clipping=RunningClip(config.clip_factor, config.clip_decay, run.compute.device),
        )

    @override
    def draw(self, index: int, synthetic: SyntheticSet) -> QueryStep:
        run = self.run
        window = self._window(synthetic)
        training = replace(self._training(window.end, synthetic, "method"), window=window.steps)
        chosen = torch.cat(run.sampler.draw_each(self.config.batch_real, run.random.host_stream("method/real")))
        drawn = siamese.draw(
            run.strategy, len(chosen), run.dataset.shape, run.random.host_stream("method/augment_real")
        )
        return query_step(run, index, synthetic, training, chosen, drawn)

    @override
    def backward(self, step: QueryStep) -> Readings:
        loss, final = self._gradients.loss_and_gradient(step.student, step.real, step.real_labels)
        slope = step.pull_back(final)
        if slope.labels is not None:
            step.synthetic.learned["labels"].gradient.add_(slope.labels)
        training = step.training
        window = (training.steps - training.differentiated, training.differentiated)
        at_start, steps = (torch.tensor(float(value)) for value in window)
        return {"loss/base": loss, "window_start": at_start, "window_steps": steps}

    @override
    def advance(self, step: QueryStep) -> None:
        """Where stages follow the accuracy, take it on the real batch of the step."""
        if self.config.window_rule == "at" and self._stages.stage < 3:
            with torch.no_grad():
                logits = self.run.functional.logits(step.student, step.real, training=True)
            right = (logits.argmax(dim=1) == step.real_labels).double().mean()
            self._stages.note(100 * float(right))

    @override
    def state(self) -> dict[str, Tensor]:
        return self._stages.state()

    @override
    def load_state(self, state: Mapping[str, Tensor]) -> None:
        self._stages.load_state(state)

    def _window(self, synthetic: SyntheticSet) -> Window:
        """Which steps of the training are differentiated."""
        config, stage = self.config, self._stages.stage
        generator = self.run.random.host_stream("method/window")
        if config.window_rule == "uniform":
            return self._bounds.anywhere(config.window, generator)
        if stage == 2:
            return self._bounds.anywhere(config.window + config.window_spread, generator)
        rule = early_window if stage == 1 else late_window
        return rule(self._probe(synthetic), self._bounds, config.window, config.window_spread, generator)

    def _probe(self, synthetic: SyntheticSet) -> Tensor:
        """Norms (T,) of the gradients of a whole training of another network on the images as they are."""
        norms: list[Tensor] = []

        def note(gradient: Params) -> None:
            norms.append(torch.stack([part.norm() for part in gradient.values()]).norm())

        training = replace(self._training(self.config.student_steps, synthetic, "method/probe"), window=1)
        start = self.run.functional.new(self.run.random.stream("method/probe/network"))
        training.forward(start, synthetic.images.detach(), synthetic.training_labels, seen=note)
        found = torch.stack(norms)
        if not bool(found.isfinite().all()):
            raise DivergedError(
                f"a network that was trained on the images diverged: at `{self.run.steps_path}.inner_lr` "
                f"{self.config.inner_lr:g} its gradient became NaN or infinite; the images of the last checkpoint are "
                f"kept. Lower `{self.run.steps_path}.inner_lr`, or use `precision`: 'fp32'"
            )
        return found

    def _training(self, steps: int, synthetic: SyntheticSet, stream: str) -> InnerAdam:
        """So many steps of Adam, each on a few images of some classes, with batches and augmentations of a stream."""
        run, config = self.run, self.config
        generator, size = run.random.host_stream(f"{stream}/batches"), synthetic.per_class
        rows = [drawn_rows(self._classes_of_step(stream), size, config.batch_syn, generator) for _ in range(steps)]
        augment = run.random.host_stream(f"{stream}/augment")
        draws = [siamese.draw(run.strategy, len(part), run.dataset.shape, augment) for part in rows]
        return InnerAdam(self._gradients, training_on(rows, draws), steps, config.inner_lr)

    def _classes_of_step(self, stream: str) -> list[int]:
        wanted = self.config.classes_per_step
        if wanted is None:
            return list(range(self._classes))
        return drawn_classes(self._classes, wanted, self.run.random.host_stream(f"{stream}/classes"))
