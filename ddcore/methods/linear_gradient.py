"""Linear gradient matching: images that move a linear classifier on frozen features as the real ones do.

Cazenavette, Torralba & Sitzmann, "Dataset Distillation for Pre-Trained Self-Supervised Vision Models", NeurIPS 2025
(arXiv 2511.16674). Released code: github.com/GeorgeCazenavette/linear-gradient-matching.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Generator, Tensor
from typing_extensions import override

from ddcore.augment.resized_crop import ResizedCrops
from ddcore.formulas.linear_head import cosine_distance, head_gradient
from ddcore.methods.shared.taught import Taught
from ddcore.pretrained.backbones import backbone_of
from ddcore.pretrained.frozen import Frozen
from ddcore.registry import implements
from ddcore.runtime.context import Run
from ddcore.runtime.objective import Method, Readings, Step
from ddcore.runtime.randomness import stream_seed
from ddcore.spec import LinearGradientConfig
from ddcore.synthetic.pyramid import LearnedPyramid, Pyramid
from ddcore.synthetic.set import SyntheticSet

NOISE_BLOCK = 32
"""Views whose noise is drawn at once, however many are in memory together: with another number it is other noise."""


@dataclass(frozen=True)
class Views:
    """How images are seen: a random part of each, with noise.

    Attributes:
        crops: one for each image.
        deviation: of the noise in each channel, in normalised units, (channels, 1, 1) on the device.
        seed: of the noise.
    """

    crops: ResizedCrops
    deviation: Tensor
    seed: int

    def of(self, images: Tensor, first: int) -> Tensor:
        """The views of some images in a row, from a number on: the same beside whichever others they are asked for."""
        cropped = self.crops[first : first + len(images)](images)
        return cropped + self.deviation * self._noise(first, images)

    def _noise(self, first: int, images: Tensor) -> Tensor:
        """Standard normal numbers (n, C, H, W) of the views from ``first`` on, cut from whole blocks."""
        blocks = range(first // NOISE_BLOCK, -(-(first + len(images)) // NOISE_BLOCK))
        skipped = first - blocks.start * NOISE_BLOCK
        return torch.cat([self._block(number, images) for number in blocks])[skipped : skipped + len(images)]

    def _block(self, number: int, images: Tensor) -> Tensor:
        generator = Generator(images.device).manual_seed(stream_seed(self.seed, f"noise/{number}"))
        return torch.randn((NOISE_BLOCK, *images.shape[1:]), generator=generator, device=images.device)


@dataclass(frozen=True)
class HeadStep(Step):
    """One step under one random classifier.

    Attributes:
        head: its weights (classes, F) and its biases (classes,).
        rows: int64 training rows to match.
        real: how those are seen.
        synthetic_views: how the views of the synthetic images are, class by class, in each class image after image.
    """

    head: tuple[Tensor, Tensor]
    rows: Tensor
    real: Views
    synthetic_views: Views


@implements(LinearGradientConfig)
class LinearGradient(Taught[LinearGradientConfig], Method[LinearGradientConfig, HeadStep]):
    """L = 1 - cos(g_real, g_syn), g the gradient of a random linear classifier on the features of a frozen network.

    That is a teacher trained on the real images, or a backbone that others trained.

    The gradient is a plain function of the features, so L has a slope in each feature that needs no network. Where the
    views are too many for one graph, a first pass finds the features, and a second one takes their slopes to the images
    group of classes by group: the same up to rounding, in the memory of one group.
    """

    def __init__(self, config: LinearGradientConfig, run: Run) -> None:
        super().__init__(config, run)
        backbone = config.backbone
        self._frozen: Frozen = self._teacher if backbone is None else backbone_of(backbone, run)

    @override
    def prepare(self) -> None:
        self._frozen.prepare(self.run.random.host_stream("method/teacher"))

    @override
    def start(self) -> SyntheticSet:
        run, config = self.run, self.config
        mean, std = (torch.tensor(each).to(run.compute.device) for each in (run.dataset.mean, run.dataset.std))
        self._deviation = config.noise / std.view(-1, 1, 1)
        pyramid = Pyramid(run.dataset.shape, mean, std)
        rows = len(run.dataset.classes) * run.spec.ipc
        noise = torch.randn(rows, sum(pyramid.sizes), generator=run.random.host_stream("init"))
        return SyntheticSet(
            noise.to(run.compute.device),
            run.spec.ipc,
            lr=config.lr_img,
            decoder=pyramid,
            learned_by=partial(LearnedPyramid, pyramid=pyramid, grow_every=config.grow_every),
        )

    @override
    def draw(self, index: int, synthetic: SyntheticSet) -> HeadStep:
        run, config = self.run, self.config
        count = config.views * len(synthetic)
        rows = run.sampler.draw_mixed(count, run.random.host_stream("method/real"))
        return HeadStep(
            index,
            synthetic,
            self._head(),
            rows,
            self._views(len(rows), "method/augment/real"),
            self._views(count, "method/augment"),
        )

    def _head(self) -> tuple[Tensor, Tensor]:
        classes, generator = len(self.run.dataset.classes), self.run.random.host_stream("method/head")
        weight = torch.randn(classes, self._frozen.feature_count, generator=generator) * self.config.head_std
        return weight.to(self.run.compute.device), torch.zeros(classes, device=self.run.compute.device)

    def _views(self, count: int, stream: str) -> Views:
        dataset, generator = self.run.dataset, self.run.random.host_stream(stream)
        crops = ResizedCrops.draw(count, dataset.shape, self.config.smallest, generator, flip=dataset.flip)
        return Views(crops, self._deviation, int(torch.randint(2**62, (), generator=generator)))

    @override
    def backward(self, step: HeadStep) -> Readings:
        synthetic, target = step.synthetic, self._real_gradient(step)
        groups = list(synthetic.class_groups(self._frozen.functional.graph_images // self.config.views))
        if len(groups) == 1:
            features = self._features(step, groups[0])
            loss, slopes = self._compare(step, features.detach(), target)
            features.backward(slopes)
            return {"loss/base": loss}
        with torch.no_grad():
            found = torch.cat([self._features(step, classes) for classes in groups])
        loss, slopes = self._compare(step, found, target)
        for classes, slope in zip(groups, slopes.split([self._count(synthetic, g) for g in groups]), strict=True):
            self._features(step, classes).backward(slope)
        return {"loss/base": loss}

    def _compare(self, step: HeadStep, features: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """The loss, and its slope in the features (views, F) of the synthetic images."""
        labels = step.synthetic.labels.repeat_interleave(self.config.views)
        features = features.requires_grad_()
        loss = cosine_distance(head_gradient(features, labels, *step.head), target)
        (slopes,) = torch.autograd.grad(loss, features)
        return loss.detach(), slopes

    def _features(self, step: HeadStep, classes: range) -> Tensor:
        """Of the views of some classes: all views of an image, then those of the next."""
        images = step.synthetic.images_of(classes).repeat_interleave(self.config.views, dim=0)
        first = classes.start * step.synthetic.per_class * self.config.views
        return self._frozen.features(step.synthetic_views.of(images, first))

    def _count(self, synthetic: SyntheticSet, classes: range) -> int:
        return len(classes) * synthetic.per_class * self.config.views

    @torch.no_grad()
    def _real_gradient(self, step: HeadStep) -> Tensor:
        labels = self.run.dataset.train.labels[step.rows.to(self.run.dataset.train.labels.device)]
        features = torch.cat(list(self._real_features(step)))
        return head_gradient(features, labels.to(features.device), *step.head)

    def _real_features(self, step: HeadStep) -> Iterator[Tensor]:
        first = 0
        for rows in step.rows.split(self._frozen.functional.graph_images):
            yield self._frozen.features(step.real.of(self.run.real_images(rows), first))
            first += len(rows)
