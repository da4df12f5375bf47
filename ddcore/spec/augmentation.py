"""Names of augmentations, and the check of a specification that joins some of them."""

from __future__ import annotations

from collections.abc import Mapping

from ddcore.spec.errors import did_you_mean

AUGMENTATIONS = ("color", "crop", "cutout", "flip", "scale", "rotate")
"""Operations of differentiable Siamese augmentation, joined by ``_`` in a specification."""

AUGMENTERS: Mapping[str, tuple[str, ...]] = {
    "siamese": AUGMENTATIONS,
    "stacked": AUGMENTATIONS,
    "per_image": ("crop", "scale", "rotate", "noise"),
    "resized_crop": ("crop", "flip"),
    "eight_bit": ("autoaugment", "randaugment", "crop", "flip", "jitter", "cutout"),
}
"""Ways of augmenting the images that a network is trained on, and the operations that each knows."""

AUTO: frozenset[str] = frozenset({"siamese", "stacked", "resized_crop"})
"""Those of them that understand ``auto``, all their operations but what a dataset does not survive."""


def check_augmentation(value: str, operations: tuple[str, ...] = AUGMENTATIONS, *, auto: bool = True) -> str:
    """Refuse what is not a list of known operations.

    Args:
        value: operations joined by ``_``, ``none``, or ``auto`` for all of them.
        operations: the known ones.
        auto: whether ``auto`` is understood.

    Returns:
        ``value``.

    Raises:
        ValueError: naming the operation at fault, the nearest known one and what else can be said.

    >>> check_augmentation("crop_flip")
    'crop_flip'
    """
    shorthands = ("auto", "none") if auto else ("none",)
    if value in shorthands:
        return value
    asked = value.split("_")
    for operation in asked:
        if operation not in operations:
            raise ValueError(
                f"unknown augmentation '{operation}'{did_you_mean(operation, operations)}; join some of "
                f"{', '.join(operations)} by '_', "
                f"or say {' or '.join(repr(name) for name in shorthands)}"
            )
    if len(set(asked)) < len(asked):
        raise ValueError(f"augmentation '{value}' names an operation twice")
    return value
