"""From the readings of a trial's jobs to the score of a rung. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from app.models.studies import Trial
from app.studies.repository import ValidationAccuracy
from app.studies.schemas import RungScore


@dataclass(frozen=True)
class RungReading:
    """What the jobs of a trial gave at a rung.

    Attributes:
        readings: one for each seed.
        networks: that each is a mean of.
    """

    readings: Sequence[ValidationAccuracy]
    networks: int

    @property
    def finite(self) -> bool:
        """Whether each is a number."""
        return all(reading.accuracy is not None for reading in self.readings)

    def score(self, rung: int, step: int, divisor: float) -> RungScore:
        """The score that is kept.

        Args:
            rung: the rung.
            step: after which the jobs were held.
            divisor: what accuracy is divided by for the objective.
        """
        means = [reading.accuracy for reading in self.readings if reading.accuracy is not None]
        accuracy = fmean(means)
        return RungScore(
            rung=rung,
            step=step,
            accuracy=accuracy,
            deviation=stdev(means) if len(means) > 1 else self.readings[0].deviation,
            networks=self.networks * len(means),
            objective=accuracy / divisor,
        )


def variance_of(score: RungScore, seeds: int) -> float | None:
    """Variance of the objective of a rung, as a mean over seeds where there are several, over networks otherwise.

    >>> variance_of(RungScore(rung=0, step=1, accuracy=80, deviation=2, networks=4, objective=40), seeds=1)
    0.25
    """
    if score.deviation is None:
        return None
    # The objective is the accuracy over a constant, and so is its deviation.
    scale = score.objective / score.accuracy if score.accuracy else 0.0
    return (score.deviation * scale) ** 2 / (seeds if seeds > 1 else score.networks)


def recorded(trial: Trial, rung: int) -> RungScore | None:
    """The score of a trial at a rung, once it has one."""
    return next((RungScore.model_validate(each) for each in trial.scores if each["rung"] == rung), None)


def latest(trial: Trial) -> RungScore | None:
    """The score of a trial in the highest rung that it was scored in."""
    return RungScore.model_validate(trial.scores[-1]) if trial.scores else None


def ordinal(place: int) -> str:
    """A place in words: 1st, 2nd, 3rd, 4th and so on.

    >>> [ordinal(place) for place in (1, 2, 3, 4, 11, 22, 113)]
    ['1st', '2nd', '3rd', '4th', '11th', '22nd', '113th']
    """
    ending = "th" if place % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(place % 10, "th")
    return f"{place}{ending}"
