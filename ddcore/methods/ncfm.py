"""NCFM: match the characteristic functions of features, and have trained networks classify the synthetic images.

Wang, Yang, Liu, Sun, Hu, He & Zhang, "Dataset Distillation with Neural Characteristic Function: A Minmax Perspective",
CVPR 2025 (arXiv 2502.20653).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor
from typing_extensions import override

from ddcore.augment import siamese
from ddcore.errors import ConfigurationError
from ddcore.formulas.characteristic import characteristic, characteristic_distance
from ddcore.methods.shared.feature_matching import MatchingStep, draw_step
from ddcore.methods.shared.frequencies import Frequencies, GaussianFrequencies, NetworkFrequencies
from ddcore.pretrained.pairs import pairs
from ddcore.registry import implements
from ddcore.runtime.context import Run
from ddcore.runtime.objective import Method, Readings
from ddcore.spec import NCFMConfig
from ddcore.synthetic.set import SyntheticSet

SCALE = 300
"""Factor of the matching loss in the released code; it counts beside the calibration and for SGD."""

LEAST_GAIN = 1e-4
"""Share by which a loss has to be below the best so far to be better."""


class Plateau:
    """Halves a factor once a loss has not become better for more than so many steps.

    As :class:`torch.optim.lr_scheduler.ReduceLROnPlateau` does by default; the best loss is kept over a reduction.

    >>> plateau = Plateau(patience=1)
    >>> [plateau.see(loss) for loss in (3.0, 2.0, 2.0, 2.0, 2.0, 2.0)]
    [1.0, 1.0, 1.0, 0.5, 0.5, 0.25]

    Args:
        patience: steps without a better loss that are borne; ``None`` for any number.

    Attributes:
        factor: 1 at first.
    """

    def __init__(self, patience: int | None) -> None:
        self.factor = 1.0
        self._patience = patience
        self._best = math.inf
        self._waited = 0

    def see(self, loss: float) -> float:
        """Take down the loss of a step; the factor after it."""
        if loss < self._best * (1 - LEAST_GAIN):
            self._best, self._waited = loss, 0
        else:
            self._waited += 1
        if self._patience is not None and self._waited > self._patience:
            self.factor, self._waited = self.factor / 2, 0
        return self.factor

    def state(self) -> Tensor:
        """What a checkpoint keeps, float64 (3,)."""
        return torch.tensor([self.factor, self._best, self._waited], dtype=torch.float64)

    def restore(self, state: Tensor) -> None:
        """Go on from what one kept."""
        self.factor, self._best, waited = state.tolist()
        self._waited = int(waited)


@implements(NCFMConfig)
class NCFM(Method[NCFMConfig, MatchingStep]):
    """Two sweeps over all classes a step, with an optimiser step for each class in either.

    The first matches under theta = (1 - u) theta_0 + u theta_T, the ends of a pair of networks, u ~ U(0, 1). The second
    descends the cross-entropy under theta_T. After it the images are clamped to pixel values.
    """

    def __init__(self, config: NCFMConfig, run: Run) -> None:
        super().__init__(config, run)
        if not run.functional.per_sample:
            raise ConfigurationError(
                "`ncfm` matches under weights between two networks, for which batch normalisation has no statistics; "
                "set another `network.norm`, or use the `convnet` network"
            )
        self._pairs = pairs(config.pairs, run)
        self._plateau = Plateau(config.patience)

    @override
    def prepare(self) -> None:
        self._pairs.prepare()

    @override
    def start(self) -> SyntheticSet:
        config, run = self.config, self.run
        self._params = run.functional.new(run.random.stream("method/network"))
        self._frequencies = self._source(self._params["classifier.weight"].shape[1])
        synthetic = (
            run.synthetic_set_by_adamw(config.lr_img, config.weight_decay)
            if config.optimizer == "adamw"
            else run.synthetic_set(config.lr_img, config.momentum, class_steps=True, pixel_units=True)
        )
        self._lr = synthetic.learned["images"].lr
        self._clamp(synthetic)
        return synthetic

    def _source(self, dimension: int) -> Frequencies:
        config = self.config
        if config.frequency_sampler == "gaussian":
            return GaussianFrequencies(config.frequencies, dimension)
        return NetworkFrequencies(
            config.frequencies,
            dimension,
            self.run.random.stream("method/frequencies/network"),
            lr=config.lr_frequencies,
            momentum=config.momentum_frequencies,
        )

    @override
    def enter(self, index: int, synthetic: SyntheticSet) -> None:
        """Set the rate, before the images move to their turns at it."""
        synthetic.learned["images"].lr = self._lr * self._plateau.factor

    @override
    @torch.no_grad()
    def draw(self, index: int, synthetic: SyntheticSet) -> MatchingStep:
        generator = self.run.random.host_stream("method/match")
        pair = self._pairs[int(torch.randint(len(self._pairs), (), generator=generator))]
        share = float(torch.rand((), generator=generator))
        for name, params in self._params.items():
            torch.lerp(pair.initial[name], pair.final[name], share, out=params)
        self._trained = pair.final
        return draw_step(self.run, index, synthetic, self._params, self.config.batch_real, draw=siamese.draw_stacked)

    @override
    def backward(self, step: MatchingStep) -> Readings:
        """sum_c L_c, of classes in turn: the frequencies of each follow from the losses before it.

        A class moves no images of another, so all of them may stand where their own turn finds them at once.
        """
        loss = torch.zeros((), device=step.synthetic.device)
        for classes in step.class_groups():
            features = step.synthetic_features(classes)
            slopes = torch.empty_like(features)
            for place, real in enumerate(step.real_features_of(classes)):
                part, slopes[place] = self._compare(real, features[place].detach())
                loss += part
            features.backward(slopes)
        self._matching = loss
        return {"loss/base": loss, "lr_img": torch.tensor(self.config.lr_img * self._plateau.factor)}

    def _compare(self, real: Tensor, synthetic: Tensor) -> tuple[Tensor, Tensor]:
        """Loss of a class, and its slope in the features of its synthetic images; then the frequencies climb it.

        L_c = 300 mean_t sqrt(a A(t) + (1 - a) B(t)) of features at unit length.
        """
        synthetic.requires_grad_()
        frequencies = self._frequencies.draw(self.run.random.stream("method/frequencies"))
        of_real, own = (characteristic(F.normalize(features), frequencies) for features in (real, synthetic))
        loss = SCALE * characteristic_distance(of_real, own, self.config.amplitude)
        slope, *slopes = torch.autograd.grad(loss, [synthetic, *self._frequencies.weights])
        self._frequencies.ascend(slopes)
        return loss.detach(), slope

    @override
    def advance(self, step: MatchingStep) -> Readings:
        """Take the second sweep, clamp the images, and see whether the loss still falls."""
        synthetic, readings, loss = step.synthetic, Readings(), self._matching
        if self.config.calibration:
            synthetic.begin_step()
            misfit = self._calibrate(step)
            synthetic.step()
            synthetic.check_finite(step.index + 1, self.run.steps_path)
            readings = {"loss/cross_entropy": misfit}
            loss = loss + self.config.calibration * misfit
        self._clamp(synthetic)
        self._plateau.see(float(loss) / synthetic.classes)
        return readings

    def _calibrate(self, step: MatchingStep) -> Tensor:
        """Add the slope of the weighted cross-entropy; the sum over classes of its means over images, unweighted."""
        run, synthetic = self.run, step.synthetic
        generator = run.random.host_stream("method/calibration")
        draws = (siamese.draw_stacked(run.strategy, None, run.dataset.shape, generator) for _ in step.draws)
        step = replace(step, draws=tuple(draws))
        total = torch.zeros((), device=synthetic.device)
        for classes in step.class_groups():
            logits = run.functional.logits(self._trained, step.synthetic_images(classes))
            misfit = F.cross_entropy(logits, synthetic.labels_of(classes)) * len(classes)
            (self.config.calibration * misfit).backward()
            total += misfit.detach()
        return total

    @torch.no_grad()
    def _clamp(self, synthetic: SyntheticSet) -> None:
        synthetic.learned["images"].value.clamp_(self.run.level(0), self.run.level(1))

    @override
    def state(self) -> dict[str, Tensor]:
        return {"plateau": self._plateau.state(), **self._frequencies.state()}

    @override
    def load_state(self, state: Mapping[str, Tensor]) -> None:
        self._plateau.restore(state["plateau"])
        self._frequencies.load_state(state)
