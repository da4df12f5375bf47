"""What a study calls best, as a number that grows with it.

Accuracy is divided by what is known before any job runs: by the minutes that a job should take to its end, or by the
bytes of its images. Measured minutes would let a busy machine decide, and the same study would end otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass

from app.studies.schemas import Objective


@dataclass(frozen=True)
class Price:
    """What a trial's accuracy costs.

    Attributes:
        minutes: that one of its jobs should take to its end, by its estimate when the study was made.
        stored_bytes: of its images.
    """

    minutes: float | None = None
    stored_bytes: int | None = None


def divisor(objective: Objective, price: Price) -> float | None:
    """What accuracy is divided by; ``None`` where that is not known, so that the objective cannot be had.

    >>> divisor("accuracy", Price()), divisor("accuracy_per_minute", Price(2.0)), divisor("accuracy_per_byte", Price())
    (1.0, 2.0, None)
    """
    match objective:
        case "accuracy":
            return 1.0
        case "accuracy_per_minute":
            return price.minutes or None
        case "accuracy_per_byte":
            return None if price.stored_bytes is None else float(price.stored_bytes)
