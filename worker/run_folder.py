"""The working folder of one attempt, ``runs/<job>/<fence>/``, and the checkpoint it starts from.

Each attempt has its own, so that an engine whose worker was given up, but which still runs, cannot write
into the folder of the one that took over.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from app.core.storage import ArtifactStore, Blob, StorageError, fetch
from app.queue.checkpoints import SavedCheckpoint
from ddcore.machine.space import is_full
from worker.protocol import HOLD_AT, PARENT


class RunFolder:
    """Files of one attempt.

    Args:
        runs_dir: folder of all jobs.
        job_id: the job.
        fence: the attempt's fencing token.
    """

    def __init__(self, runs_dir: Path, job_id: str, fence: int) -> None:
        self.job = runs_dir / job_id
        self.path = self.job / str(fence)

    @property
    def out(self) -> Path:
        """The bundle's files."""
        return self.path / "out"

    @property
    def parent(self) -> Path:
        """Files of the bundle that the job extends, where it extends one."""
        return self.path / PARENT

    def checkpoint(self, name: str) -> Path:
        """File of a checkpoint."""
        return self.path / "checkpoints" / name

    def snapshot(self, name: str) -> Path:
        """File of a snapshot."""
        return self.path / "snapshots" / name

    def spec(self) -> Mapping[str, Any]:
        """What the engine is told to do; a user's own set is named by its content."""
        found: Mapping[str, Any] = json.loads((self.path / "spec.json").read_text("utf-8"))
        return found

    def create(self, spec: Mapping[str, Any], hold_at: int | None = None) -> None:
        """Make the folder with its specification, and the step at which the run is to be held, if any."""
        shutil.rmtree(self.path, ignore_errors=True)
        for folder in (self.path, self.path / "checkpoints"):
            folder.mkdir(mode=0o700, parents=True)
        (self.path / "spec.json").write_text(json.dumps(spec), "utf-8")
        if hold_at is not None:
            (self.path / HOLD_AT).write_text(str(hold_at), "ascii")

    def restore(self, store: ArtifactStore, saved: Sequence[SavedCheckpoint]) -> tuple[int | None, list[str]]:
        """Bring back the newest recorded checkpoint whose bytes are what they should be.

        Only recorded checkpoints count: readings up to a recorded one are in the database, while those up
        to one that merely lies on this disk may have died with the worker.

        Args:
            store: where checkpoints are kept.
            saved: recorded checkpoints, newest first.

        Returns:
            The step to go on from, ``None`` to start anew, and what was wrong with those passed over.

        Raises:
            OSError: the disk is full.
        """
        complaints: list[str] = []
        for checkpoint in saved:
            target = self.checkpoint(f"{checkpoint.step:010d}-{checkpoint.sha256}.safetensors")
            if self._take_local(target, checkpoint.sha256):
                return checkpoint.step, complaints
            try:
                fetch(store, Blob(checkpoint.sha256, checkpoint.size), target)
            except (StorageError, OSError) as error:
                if is_full(error):
                    raise  # the checkpoint is good, and waiting for room costs less than its steps
                complaints.append(f"the checkpoint of step {checkpoint.step} cannot be used: {error}")
                continue
            return checkpoint.step, complaints
        return None, complaints

    def forget_earlier(self) -> None:
        """Remove the folders of earlier attempts."""
        for earlier in self._earlier():
            shutil.rmtree(earlier, ignore_errors=True)

    def remove(self) -> None:
        """Remove this attempt's folder, and the job's if no other attempt has one."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self.job.is_dir() and not any(self.job.iterdir()):
            self.job.rmdir()

    def _take_local(self, target: Path, sha256: str) -> bool:
        for earlier in reversed(list(self._earlier())):
            source = earlier / "checkpoints" / target.name
            if source.is_file() and _digest(source) == sha256:
                _link(source, target)
                return True
        return False

    def _earlier(self) -> Iterator[Path]:
        """Folders of older fences, oldest first."""
        fences = sorted(int(path.name) for path in self.job.iterdir() if path.name.isdigit())
        return (self.job / str(fence) for fence in fences if fence < int(self.path.name))


def pin(path: Path, folder: Path) -> Path | None:
    """A second name for a file that its owner may delete any moment; ``None`` if that has happened."""
    folder.mkdir(exist_ok=True)
    target = folder / path.name
    try:
        _link(path, target)
    except FileNotFoundError:
        return None
    return target


def _link(source: Path, target: Path) -> None:
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:  # a file system without hard links
        shutil.copyfile(source, target)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
