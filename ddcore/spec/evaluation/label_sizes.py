"""How many bytes a teacher's labels of an image take, once for each epoch in which they are stored."""

from __future__ import annotations

LOGIT_BYTES = 2
"""Of a stored logit."""
_CLASSES_OF_BYTES = {1: 2**8, 2: 2**15}
"""Classes that numbers of so many bytes tell apart: unsigned ones of one byte, signed ones of two."""


def class_bytes(classes: int) -> int:
    """Of the number of one of so many classes.

    >>> [class_bytes(classes) for classes in (256, 257, 32_768, 32_769)]
    [1, 2, 2, 4]
    """
    return next((size for size, most in _CLASSES_OF_BYTES.items() if classes <= most), 4)


def image_bytes(classes: int, top: int | None = None) -> int:
    """Of an image: all logits, or the ``top`` highest with the numbers of their classes, and one for all others.

    >>> image_bytes(100), image_bytes(100, 10), image_bytes(1000, 10)
    (200, 32, 42)
    """
    if top is None:
        return LOGIT_BYTES * classes
    return top * (LOGIT_BYTES + class_bytes(classes)) + LOGIT_BYTES


def most_top(classes: int, room: int) -> int:
    """The most highest logits that take at most ``room`` bytes of an image, and fewer than all logits do; 0 for none.

    >>> most_top(100, 10_000), most_top(100, 32), most_top(100, 4), most_top(2, 10_000)
    (65, 10, 0, 0)
    """
    room = min(room, image_bytes(classes) - 1)
    return max(0, (room - LOGIT_BYTES) // (LOGIT_BYTES + class_bytes(classes)))
