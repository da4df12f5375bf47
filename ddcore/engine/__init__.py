"""A job from its specification to a bundle."""

from ddcore.engine.entry import Result, distill, run

__all__ = ["Result", "distill", "run"]
