"""RDED: mosaics of the crops that a trained network is surest of.

Sun et al., "On the Diversity and Realism of Distilled Dataset: An Efficient Dataset Distillation Paradigm", CVPR 2024
(arXiv 2312.03526). Released code: github.com/LINs-lab/RDED.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor
from typing_extensions import override

from ddcore.methods.shared.confidence import drawn_candidates, surest, unsureness
from ddcore.methods.shared.crops import random_crops
from ddcore.methods.shared.taught import Taught
from ddcore.registry import implements
from ddcore.spec import RDEDConfig
from ddcore.synthetic.set import SyntheticSet


@implements(RDEDConfig)
class RDED(Taught[RDEDConfig]):
    """Of each class, the surest crop of each of ``candidates`` real images, and of these the surest, tile by tile.

    A tile shows a crop at the size of a tile; the teacher sees it as large, in the middle of an image of zeros. One
    class is in memory at a time.
    """

    @override
    def start(self) -> SyntheticSet:
        run, decoder = self.run, self.run.decoder()
        candidates = drawn_candidates(run, self.config.candidates, run.random.host_stream("method/candidates"))
        stored = [
            decoder.encode(self._tiles(run.real_images(rows), label, decoder.tiles), run.spec.ipc)
            for label, rows in enumerate(candidates)
        ]
        return SyntheticSet(torch.cat(stored), run.spec.ipc, lr=0.0, momentum=0.0, decoder=decoder)

    def _tiles(self, images: Tensor, label: int, tiles: int) -> Tensor:
        """The surest crops (ipc * tiles, C, h, w) of images of a class, each of another image, surest first."""
        generator, factor = self.run.random.host_stream("method/crops"), math.isqrt(tiles)
        height, width = self.run.dataset.shape[1:]
        size = (-(-height // factor), -(-width // factor))
        losses = torch.full((len(images),), math.inf, device=images.device)
        kept = images.new_zeros((*images.shape[:2], *size))
        for _ in range(self.config.crops):
            found = random_crops(images, size, self.config.smallest, generator)
            of_found = unsureness(self._teacher, centred(found, height, width), label)
            surer = of_found < losses
            losses, kept = torch.where(surer, of_found, losses), torch.where(surer.view(-1, 1, 1, 1), found, kept)
        return kept[surest(losses, self.run.spec.ipc * tiles)]


def centred(images: Tensor, height: int, width: int) -> Tensor:
    """Images (n, C, h, w) in the middle of (n, C, height, width) zeros; what is odd is added below and to the right.

    >>> centred(torch.ones(1, 1, 1, 1), 2, 3).tolist()
    [[[[0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]]]
    """
    down, right = height - images.shape[2], width - images.shape[3]
    return F.pad(images, (right // 2, right - right // 2, down // 2, down - down // 2))
