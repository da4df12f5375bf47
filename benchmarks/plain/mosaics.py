"""Mosaics of four small images, as the code of IDC has them and NCFM and CIM take them over."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def mosaics(images: Tensor, rows: int) -> Tensor:
    """Shrink images (4 * rows, C, H, W) by their nearest pixels into mosaics (rows, C, H, W), tile after tile."""
    height, width = images.shape[2:]
    upper_left, upper_right, lower_left, lower_right = F.interpolate(images, (height // 2, width // 2)).split(rows)
    upper, lower = torch.cat([upper_left, upper_right], dim=3), torch.cat([lower_left, lower_right], dim=3)
    return torch.cat([upper, lower], dim=2)


def tiles(stored: Tensor) -> Tensor:
    """The tiles (4 * rows, C, H, W) of mosaics (rows, C, H, W), enlarged to full size."""
    height, width = stored.shape[2] // 2, stored.shape[3] // 2
    cut = [stored[:, :, i : i + height, j : j + width] for i in (0, height) for j in (0, width)]
    return F.interpolate(torch.cat(cut), stored.shape[2:], mode="bilinear", align_corners=False)
