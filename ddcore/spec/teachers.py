"""Networks that are trained on the real images before a job needs them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from ddcore.spec.base import AnyNetwork
from ddcore.spec.catalog import SpecModel
from ddcore.spec.networks import ConvNetConfig


class TeacherConfig(SpecModel):
    """A pool of networks trained on the real images: once per content hash, then cached."""

    smoke: ClassVar[Mapping[str, Any]] = {"network": {"name": "convnet", "width": 4}, "epochs": 1}
    """As in :class:`ddcore.spec.catalog.Component`."""

    network: AnyNetwork = Field(default_factory=ConvNetConfig, description="Architecture of every teacher.")
    pool: int = Field(1, ge=1, le=1000, description="How many teachers; one is drawn for each step (papers: 200-1000).")
    epochs: int = Field(4, ge=1, le=1000, description="Training epochs on the real set (papers: 40).")
    lr: float = Field(0.01, gt=0, description="Learning rate (SGD, constant).")
    momentum: float = Field(0.9, ge=0, lt=1, description="Momentum.")
    weight_decay: float = Field(1e-3, ge=0, description="Weight decay (CMI: 1e-3; IID: 5e-4).")
    batch_size: int = Field(128, ge=1, description="Images a training step (papers: 256).")
