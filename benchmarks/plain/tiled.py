"""RDED and CIM, after the codes of github.com/LINs-lab/RDED and github.com/LINs-lab/CIM.

Sun et al., CVPR 2024 (arXiv 2312.03526); Shang et al., ECCV 2026, as condense/condense.py has it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from benchmarks.plain.given import Given, Made
from benchmarks.plain.mosaics import mosaics, tiles
from benchmarks.plain.ranking import cropped, losses
from benchmarks.plain.teachers import teacher_of
from ddcore.augment.siamese import apply, draw_stacked
from ddcore.nets import Network
from ddcore.spec import CIMConfig, RDEDConfig


def rded(given: Given) -> Made:
    """Of each class the surest crops, each of another image; here a crop fills an image (a mosaic of one tile)."""
    config = given.spec.method
    assert isinstance(config, RDEDConfig)
    assert given.spec.decoder.tiles == 1
    teacher = teacher_of(given, config.teacher)
    kept = [_surest_crops(given, config, teacher, label) for label in range(given.classes)]
    return Made(torch.cat(kept), teacher=teacher)


def _surest_crops(given: Given, config: RDEDConfig, teacher: Network, label: int) -> Tensor:
    size = given.dataset.shape[1:]
    best = []
    for image in given.of_class(label, config.candidates):
        crops = torch.cat([cropped(given, image[None], size, config.smallest) for _ in range(config.crops)])
        best.append(crops[losses(teacher, crops, label).argmin()])
    found = torch.stack(best)
    return found[losses(teacher, found, label).argsort()[: given.spec.ipc]]


def cim(given: Given) -> Made:
    """Class after class, AdamW on what is added to mosaics, until tiles have the features of the images in them."""
    config = given.spec.method
    assert isinstance(config, CIMConfig)
    teacher = teacher_of(given, config.teacher)
    stored = torch.cat([_refined(given, config, teacher, label) for label in range(given.classes)])
    ipc = given.spec.ipc
    return Made(torch.cat([tiles(part) for part in stored.split(ipc)]), teacher=teacher, stored=stored)


def _refined(given: Given, config: CIMConfig, teacher: Network, label: int) -> Tensor:
    """Mosaics (ipc, C, H, W) of a class."""
    ipc = given.spec.ipc
    candidates = given.of_class(label, config.candidates)
    anchors = candidates[losses(teacher, candidates, label).argsort()[: 4 * ipc]]
    start = given.pixels(mosaics(anchors, ipc))
    added = torch.zeros_like(start, requires_grad=True)
    optimizer = torch.optim.AdamW([added], config.lr_img, weight_decay=config.weight_decay)
    for _ in range(config.iterations):
        enlarged = given.normalised(tiles(start + added))
        drawn = draw_stacked(given.strategy, None, given.dataset.shape, given.generator)
        features = teacher.features(apply(drawn, torch.cat([anchors, enlarged])))
        loss = (features[: len(anchors)] - features[len(anchors) :]).abs().mean(dim=1).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return given.normalised((start + added).detach())
