"""The state of a run on disk: when it is saved, and which runs may go on from it."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from torch import Tensor

from ddcore.engine.preparation import Prepared
from ddcore.errors import CheckpointError
from ddcore.evaluation.plan import NetworkScore
from ddcore.runtime.checkpoint import Checkpoint, newest_valid, save_checkpoint, versions
from ddcore.spec import JobSpec, SpecError, parse
from ddcore.spec.extending import not_extendable, with_steps

_MAY_CHANGE = {"metrics", "snapshots", "checkpoints", "extends"}
"""Fields that a run may change when it goes on: how often things are reported, and what another field stands for."""
_OTHER_PROBE = (
    "from step {step} on `mi_lower_bound` and `cmi` are read with the probe {digest}, which is not that "
    "of the steps before: it was trained anew on another kind of machine, or `metrics.probe` was changed"
)

_OTHERWISE_COMPILED = (
    "a run of {step} steps and one of all steps choose differently what to compile for the network passes, so the "
    "images may be rounded otherwise than those of one run; `compile`: 'on' or 'off' in both prevents that"
)


class HasState(Protocol):
    """A part of a run whose tensors a checkpoint keeps."""

    def state(self) -> dict[str, Tensor]:
        """Tensors to save, by name."""

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on from saved tensors."""


class Checkpoints:
    """The checkpoints of one run.

    Args:
        folder: of the files.
        prepared: the job.
        parts: gives what changes from step to step, by name.
        since: moment (of ``time.monotonic``) from which nothing has been saved.
    """

    def __init__(
        self, folder: Path, prepared: Prepared, parts: Callable[[], Iterable[tuple[str, HasState]]], *, since: float
    ) -> None:
        self._folder, self._prepared, self._parts = folder, prepared, parts
        self._callback = prepared.whole.callback
        self._saved_at = since

    def due(self, step: int) -> bool:
        """Whether the job wants a checkpoint after so many steps."""
        every = self._prepared.spec.checkpoints.every
        return self.long_unsaved() if every is None else step % every == 0

    def long_unsaved(self) -> bool:
        """Whether nothing has been saved for as many seconds as the job allows."""
        return time.monotonic() - self._saved_at >= self._prepared.spec.checkpoints.seconds

    def save(self, step: int, scores: Sequence[NetworkScore]) -> Path:
        """Save the state.

        Args:
            step: steps taken.
            scores: of the networks of the evaluation that are finished.
        """
        tensors = {f"{name}/{key}": value for name, part in self._parts() for key, value in part.state().items()}
        spec, probe = self._prepared.spec, self._prepared.probe
        facts = {
            "spec": self._digest(spec),
            "job": spec.model_dump(mode="json", exclude=_MAY_CHANGE),
            "data": self._data,
            "scores": list(scores),
            "probe": probe.digest,
        }
        path, digest = save_checkpoint(self._folder, Checkpoint(step, tensors, facts), keep=spec.checkpoints.keep)
        self._saved_at = time.monotonic()
        self._callback.on_checkpoint(step, path, digest)
        return path

    def resume(self) -> tuple[int, list[NetworkScore]]:
        """Go on from the newest valid checkpoint, if there is one.

        Returns:
            Steps taken, and scores of the networks of the evaluation that are finished.

        Raises:
            CheckpointError: it is of another job.
        """
        checkpoint, complaints = newest_valid(self._folder)
        for complaint in complaints:
            self._callback.on_log("warning", complaint)
        if checkpoint is None:
            return 0, []
        continues = self._continues(checkpoint)
        if not continues and not self._is_of(checkpoint, self._prepared.spec):
            raise CheckpointError(
                "the checkpoint in this run's folder belongs to another specification or dataset; "
                "use the specification it was started with, or an empty folder"
            )
        for name, part in self._parts():
            part.load_state(checkpoint.part(name))
        probe = self._prepared.probe.digest
        if checkpoint.facts.get("probe", probe) != probe:
            self._callback.on_log("warning", _OTHER_PROBE.format(step=checkpoint.step, digest=probe))
        self._callback.on_resumed(checkpoint.step, checkpoint.facts["versions"] == versions())
        return checkpoint.step, [] if continues else checkpoint.facts["scores"]

    def _continues(self, checkpoint: Checkpoint) -> bool:
        """Whether a checkpoint is the last one of a job that differs in nothing but in taking fewer steps."""
        spec = self._prepared.spec
        if not 0 < checkpoint.step < spec.method.iterations or not_extendable(spec):
            return False
        shorter = with_steps(spec, checkpoint.step)
        if not self._is_of(checkpoint, shorter):
            return False
        device, costs = self._prepared.whole.compute.device.type, [self._prepared.cost(one) for one in (shorter, spec)]
        if len({(cost.compiles(device), cost.takes_own_kernels(device)) for cost in costs}) > 1:
            self._callback.on_log("warning", _OTHERWISE_COMPILED.format(step=checkpoint.step))
        return True

    def _is_of(self, checkpoint: Checkpoint, spec: JobSpec) -> bool:
        """Whether a checkpoint is of a job, which an earlier version may have spelt with fewer fields.

        A field that came later has its default then: jobs go on after an upgrade of the software.
        """
        facts = checkpoint.facts
        if facts["spec"] == self._digest(spec):
            return True
        if facts.get("data") != self._data:
            return False
        try:
            begun = parse(facts["job"], lambda _: spec.facts)
        except SpecError:  # it has values that this version does not know
            return False
        return self._digest(begun) == self._digest(spec)

    def _digest(self, spec: JobSpec) -> str:
        """What a checkpoint must agree on."""
        fields = spec.model_dump_json(exclude=_MAY_CHANGE)
        return hashlib.sha256(f"{fields}/{self._data}".encode()).hexdigest()

    @property
    def _data(self) -> str:
        """The images, and what the job extends: by its content, which another name, or a folder, may have too."""
        parent, dataset = self._prepared.parent, self._prepared.whole.dataset
        return dataset.digest if parent is None else f"{dataset.digest}/{parent.digest}"
