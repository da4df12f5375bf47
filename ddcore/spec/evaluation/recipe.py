"""How networks are trained on a set, whatever the set is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from ddcore.spec.augmentation import AUGMENTATIONS, AUGMENTERS, AUTO, check_augmentation
from ddcore.spec.base import AnyNetwork, NetworkConfig
from ddcore.spec.catalog import SpecModel
from ddcore.spec.errors import did_you_mean
from ddcore.spec.networks import (
    AlexNetConfig,
    ConvNetConfig,
    LeNetConfig,
    MLPConfig,
    ResNet18Config,
    VGG11Config,
)
from ddcore.spec.protocols import PROTOCOLS, Schedule, as_prescribed
from ddcore.spec.work import TRAINING

Trains = Literal["network", "head"]
"""What is trained on a set: whole networks, or linear classifiers on the features of one that is frozen."""

NETWORK_POOLS: Mapping[str, tuple[NetworkConfig, ...]] = {
    "M": (MLPConfig(), ConvNetConfig(), LeNetConfig(), AlexNetConfig(), VGG11Config(), ResNet18Config()),
    "B": (
        ConvNetConfig(norm="batch"),
        ConvNetConfig(norm="batch", activation="swish"),
        AlexNetConfig(norm="batch"),
        VGG11Config(norm="batch"),
        ResNet18Config(norm="batch"),
    ),
}
"""Architectures that the literature scores across, without and with batch normalisation.

The modes M and B of ``get_eval_pool`` in utils.py of github.com/VICO-UoE/DatasetCondensation.
"""


class RecipeConfig(SpecModel):
    """The part of an evaluation that says how a network is trained and tested."""

    protocol: str = Field(
        "standard",
        json_schema_extra={"enum": list(PROTOCOLS)},
        description="Whose way of scoring: it decides every field below that is not given. "
        + "; ".join(f"`{name}`: {protocol.title}" for name, protocol in PROTOCOLS.items())
        + ". Published repetitions of the distillation itself are left to the job's seed.",
    )
    networks: tuple[AnyNetwork, ...] = Field(
        default=(),
        description="Architectures to train, or the pools 'M' (mlp, convnet, lenet, alexnet, vgg11, resnet18) and 'B' "
        "(convnet, the same with swish, alexnet, vgg11, resnet18; all with batch normalisation). "
        "Default: the network of the job.",
    )
    trains: Trains = Field(
        "network",
        description="`network`: networks from scratch. `head`: a linear classifier alone, on the features of "
        "`teacher`, or of `backbone` in its place, which stays as it is (linear probing) and is the only architecture "
        "then. The bundle holds a teacher, and no backbone.",
    )
    repeats: int = Field(3, ge=0, le=100, description="Networks of each architecture; 0 skips scoring.")
    epochs: int = Field(300, ge=1, le=100_000, description="E, see `schedule`.")
    schedule: Schedule = Field(
        "drop_once",
        description="`drop_once`: E + 1 epochs; after that with the index E // 2 + 1, counted from 0, a tenth of the "
        "learning rate and a fresh optimiser (DC and its heirs). `drop_once_kept`: likewise, but the momentum is kept "
        "(PDD). `drop_twice`: E epochs; a fifth of the learning rate "
        "after 2 E // 3 and again after 5 E // 6 (IDC). `half_cosine`: E epochs; after e of them the learning rate "
        "times (1 + cos(pi e / 2 E)) / 2, which ends at half of it (RDED). `cosine`: likewise with pi e / E, which "
        "ends at 0. `halve_four_times`: E epochs; half of the rate after each fifth of them but the last (NCFM). "
        "`constant`: E epochs.",
    )
    optimizer: Literal["sgd", "adam", "adamw"] = Field(
        "sgd",
        description="With `adam`, `lr` defaults to 0.003, `weight_decay` to 0 and `schedule` to `constant`; with "
        "`adamw`, whose weight decay is no part of the gradient, to 0.001, 0.01 and `constant`. Default: `sgd`, but "
        "`adamw` for `labels` 'online' and 'stored', whose slopes at a high temperature are too flat for SGD at its "
        "usual rate.",
    )
    lr: float | None = Field(
        0.01, gt=0, description="Learning rate; null for the one that the set learned, as `mtt` scores."
    )
    momentum: float = Field(0.9, ge=0, lt=1, description="Momentum (SGD).")
    weight_decay: float = Field(5e-4, ge=0, description="Weight decay.")
    batch_size: int = Field(256, ge=1, description="Images a training step.")
    augmenter: Literal["siamese", "stacked", "per_image", "resized_crop", "eight_bit"] = Field(
        "siamese",
        description="How operations are applied. `siamese`: one for a whole batch, with parameters for every image. "
        "`stacked`: flip and color, one of the others, and cutout (IDC). `per_image`: one for each image, of crop, "
        "scale, rotate, noise (DC). `resized_crop`: of each image a part of 8 % of its area or more, enlarged, and "
        "mirrored half of the time where classes survive it. `eight_bit`: one after the other with one draw for a "
        "whole batch of 8-bit images, of autoaugment, randaugment, crop, flip, jitter, cutout (DC-bench).",
    )
    augmentation: str | None = Field(
        None,
        description="Operations on the training images, joined by `_`, or `none`; `auto` as for a job. "
        "Default: those of the job.",
    )
    cutmix: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Probability that a batch is mixed by CutMix (beta 1). It then takes the place of `cutout`, unless "
        "`augmentation` lists that.",
    )
    staging: Literal["together", "at_rest", "with_momentum"] = Field(
        "together",
        description="How networks are trained on a set that was learned in stages (`seqmatch`, `pdd`): on all of it "
        "`together`, or on the first stage, on the first two and so on, each for all `epochs` with the whole schedule, "
        "and at its own learning rate where `lr` is null; every stage `at_rest` (SeqMatch) or with the momentum of the "
        "last (PDD). Controls are divided likewise, but for `full`.",
    )
    tests: int = Field(
        1,
        ge=1,
        le=100,
        description="Times that a network is tested, evenly over its training. The last counts; the best, which looks "
        "at the test images, is reported beside it (IDC publishes it).",
    )

    @property
    def learning_passes(self) -> int:
        """Work of an image that is trained on: a frozen network is gone through forward only."""
        return 1 if self.trains == "head" else TRAINING

    def passes(self, epochs: int) -> int:
        """Epochs that a network is really trained for, for an E of ``epochs``."""
        return epochs + 1 if self.schedule in ("drop_once", "drop_once_kept") else epochs

    def unions(self, shares: Sequence[int]) -> tuple[float, ...]:
        """Parts of a set that each stage of training takes, 0 to 1, in turn.

        Args:
            shares: sizes of the stages that it was learned in.

        >>> RecipeConfig(protocol="pdd").unions((1, 1)), RecipeConfig().unions((1, 1))
        ((0.5, 1.0), (1.0,))
        """
        return (1.0,) if self.staging == "together" else tuple(end / sum(shares) for end in accumulate(shares))

    @model_validator(mode="before")
    @classmethod
    def _as_the_protocol_has_it(cls, data: object) -> object:
        """Fill in what the protocol prescribes where nothing is said."""
        return as_prescribed(data) if isinstance(data, Mapping) else data

    @field_validator("protocol")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in PROTOCOLS:
            raise ValueError(
                f"unknown protocol '{value}'{did_you_mean(value, PROTOCOLS)}; known: {', '.join(PROTOCOLS)}"
            )
        return value

    @field_validator("networks", mode="before")
    @classmethod
    def _pools(cls, value: object) -> object:
        """Put the architectures of a pool in the place of its name."""
        listed = [value] if isinstance(value, str) else value
        if not isinstance(listed, (list, tuple)):
            return value
        expanded: list[Any] = []
        for network in listed:
            expanded += NETWORK_POOLS[network] if isinstance(network, str) and network in NETWORK_POOLS else [network]
        return tuple(expanded)

    @field_validator("augmentation")
    @classmethod
    def _operations(cls, value: str | None, info: ValidationInfo) -> str | None:
        augmenter = info.data.get("augmenter", "siamese")
        known = AUGMENTERS[augmenter]
        if value is not None:
            return check_augmentation(value, known, auto=augmenter in AUTO)
        if known != AUGMENTATIONS:
            raise ValueError(
                f"the operations of a job are not for the augmenter '{augmenter}'; give `evaluation.augmentation`: "
                f"some of {', '.join(known)} joined by '_', or 'none'"
            )
        return None
