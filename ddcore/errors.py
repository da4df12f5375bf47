"""What can go wrong in a run, each with a stable code that the service reports."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar


class DistillationError(Exception):
    """Base of every error that ends a run. The message is for the user; it names values and a way out."""

    code: ClassVar[str] = "distillation_error"
    retryable: ClassVar[bool] = False


class DataError(DistillationError):
    """The dataset is missing, malformed or unfit for the job."""

    code = "data_error"


class ConfigurationError(DistillationError):
    """The specification cannot be run on this dataset or this machine."""

    code = "bad_configuration"


class DivergedError(DistillationError):
    """A loss or gradient became NaN or infinite; the last finite checkpoint is kept."""

    code = "diverged"


class OutOfMemoryError(DistillationError):
    """The device or the machine ran out of memory."""

    code = "out_of_memory"
    retryable = True


class DecodingLostError(DistillationError):
    """A process that decodes images ended before it was done."""

    code = "decoding_lost"
    retryable = True


class CompilerError(DistillationError):
    """The compiler of PyTorch could not compile a network pass."""

    code = "compiler_failed"
    retryable = True


class CheckpointError(DistillationError):
    """No checkpoint of this run can be read, or it belongs to another run."""

    code = "bad_checkpoint"


class Interrupted(DistillationError):  # noqa: N818 - not a failure
    """The run stopped on request, with its state saved.

    Attributes:
        checkpoint: the file to resume from, or ``None`` when nothing had been done yet.
        step: steps completed.
    """

    code = "interrupted"
    retryable = True

    def __init__(self, step: int, checkpoint: Path | None) -> None:
        self.step = step
        self.checkpoint = checkpoint
        super().__init__(f"stopped on request after step {step}")


class Held(Interrupted):
    """The run stopped at the step where it was to be held, with its state saved."""
