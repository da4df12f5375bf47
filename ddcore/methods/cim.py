"""CIM: mosaics of real images, refined until a trained network sees the images in the tiles.

Shang et al., "Condensing Large-Scale Datasets Directly with Minimal Information Loss", ECCV 2026, as its released code
has it: condense/condense.py of github.com/LINs-lab/CIM. It begins as RDED does (Sun et al., CVPR 2024, arXiv
2312.03526), with whole images in the place of crops.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from typing_extensions import override

from ddcore.augment import siamese
from ddcore.formulas.feature_distances import paired_absolute
from ddcore.methods.shared.confidence import drawn_candidates, surest, unsureness
from ddcore.methods.shared.taught import Taught
from ddcore.registry import implements
from ddcore.runtime.objective import Method, Readings, Step
from ddcore.spec import CIMConfig
from ddcore.synthetic.residual import Residual
from ddcore.synthetic.set import SyntheticSet


@dataclass(frozen=True)
class PairedStep(Step):
    """One step of every class.

    Attributes:
        draws: the transformation of each class, shared by its tiles and the images that they were made of.
    """

    draws: tuple[siamese.Draw, ...]


@implements(CIMConfig)
class CIM(Taught[CIMConfig], Method[CIMConfig, PairedStep]):
    """AdamW on what is added to mosaics: each tile, enlarged, is to have the features of its image.

    Classes do not depend on each other, and AdamW takes each pixel for itself, so one step of all classes is what the
    released code does class by class. Graphs are those of a few classes at a time.
    """

    @override
    def start(self) -> SyntheticSet:
        run, config, decoder = self.run, self.config, self.run.decoder()
        self._tiles = run.spec.ipc * decoder.tiles
        anchors = [
            rows[surest(unsureness(self._teacher, run.real_images(rows), label), self._tiles).cpu()]
            for label, rows in enumerate(
                drawn_candidates(run, config.candidates, run.random.host_stream("method/candidates"))
            )
        ]
        self._anchors = torch.stack(anchors)
        mosaics = [decoder.encode(run.real_images(rows), run.spec.ipc) for rows in anchors]
        pixel = 1 / torch.tensor(run.dataset.std).view(1, -1, 1, 1).to(run.compute.device)
        return SyntheticSet(
            torch.cat(mosaics),
            run.spec.ipc,
            lr=config.lr_img,
            momentum=0.0,
            decoder=decoder,
            learned_by=partial(Residual, weight_decay=config.weight_decay, unit=pixel),
        )

    @override
    def draw(self, index: int, synthetic: SyntheticSet) -> PairedStep:
        run, generator = self.run, self.run.random.host_stream("method/augment")
        draws = [siamese.draw_stacked(run.strategy, None, run.dataset.shape, generator) for _ in run.dataset.classes]
        return PairedStep(index, synthetic, tuple(draws))

    @override
    def backward(self, step: PairedStep) -> Readings:
        """L = sum over tiles k of mean |phi(a_k) - phi(D_k)|, of the image a_k and the tile D_k made of it."""
        loss = torch.zeros((), device=step.synthetic.device)
        for classes in step.synthetic.class_groups(self._teacher.functional.graph_images):
            part = paired_absolute(self._features_of_anchors(step, classes), self._features_of_tiles(step, classes))
            part.backward()
            loss += part.detach()
        return {"loss/base": loss}

    @torch.no_grad()
    def _features_of_anchors(self, step: PairedStep, classes: range) -> Tensor:
        rows = self._anchors[classes.start : classes.stop]
        return self._features(self.run.real_images(rows.flatten()), step.draws[classes.start : classes.stop])

    def _features_of_tiles(self, step: PairedStep, classes: range) -> Tensor:
        # Of several scales the finest is last, and its tiles are in the order of the images that they were made of.
        of_class = step.synthetic.images_of(classes).unflatten(0, (len(classes), -1))[:, -self._tiles :]
        return self._features(of_class.flatten(0, 1), step.draws[classes.start : classes.stop])

    def _features(self, images: Tensor, draws: tuple[siamese.Draw, ...]) -> Tensor:
        augmented = siamese.apply_by_class(draws, images, [self._tiles] * len(draws))
        return self._teacher.features(augmented)

    @override
    def state(self) -> dict[str, Tensor]:
        return {"anchors": self._anchors}

    @override
    def load_state(self, state: Mapping[str, Tensor]) -> None:
        self._anchors = state["anchors"].cpu()
