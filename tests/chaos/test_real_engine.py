"""The real engine under the real worker: killed in the middle, it ends with the same bytes."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from ddcore import engine
from ddcore.data import digits
from ddcore.spec import parse
from tests.chaos.expectations import expect_no_engine
from tests.chaos.harness import Cluster, cluster

SPEC: dict[str, Any] = {
    "ipc": 2,
    "method": {"name": "dm", "iterations": 40, "batch_real": 16},
    "network": {"name": "convnet", "depth": 2, "width": 16},
    "regularizers": {"mim": {"relative": 0.5}},
    "checkpoints": {"every": 5},
    "metrics": {"every": 10},
    "snapshots": {"every": 20},
    "evaluation": {"repeats": 1, "epochs": 2},
    "compile": "off",
    "device": "cpu",
}
CHANGED, LACKING = (3, 7), 40
"""The classes of which the second version of the set lacks some training images, and how many."""
LIVING: dict[str, Any] = {
    **SPEC,
    "seed": 3,
    "regularizers": {},
    "metrics": {"every": 100, "probe": "random"},
    "snapshots": {"every": 200},
    "evaluation": {"repeats": 1, "epochs": 2, "audit": False},
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A service with one worker, in whose data root the digits lie with two classes changed."""
    folder = tmp_path_factory.mktemp("real")
    found = digits.read()
    kept = torch.ones(len(found.train), dtype=torch.bool)
    for label in CHANGED:
        kept[(found.train.labels == label).nonzero().flatten()[:LACKING]] = False
    arrays = {
        "x_train": found.train.images[kept].squeeze(1), "y_train": found.train.labels[kept],
        "x_test": found.test.images.squeeze(1), "y_test": found.test.labels,
    }  # fmt: skip
    (folder / "data").mkdir()
    np.savez(folder / "data" / "changed.npz", allow_pickle=False, **{k: array.numpy() for k, array in arrays.items()})
    slow = {"DD_ENGINE_MODULE": "worker.engine_main", "DD_ENGINE_THREADS": "1", "DD_LEASE_S": "4"}
    with cluster(folder / "home", **slow, DD_DATA_ROOT=str(folder / "data")) as made:
        made.worker()
        yield made


def kill_the_worker(made: Cluster, job_id: str, step: int) -> None:
    """Kill the only worker once it has saved a state after so many steps, and start another."""
    made.wait(job_id, lambda job: (job.checkpoint_step or 0) >= step)
    made.workers[-1].kill()
    expect_no_engine(made)
    assert made.job(job_id).status == "running"
    made.survivor()


def images(made: Cluster, job_id: str) -> dict[int, bytes]:
    """The images of each class, as they are stored."""
    found = safetensors.torch.load(made.content(job_id, "synthetic_images"))
    return {label: found["images"][found["labels"] == label].numpy().tobytes() for label in range(10)}


def test_a_killed_worker_does_not_change_a_byte(made: Cluster) -> None:
    undisturbed = made.submit(**SPEC, seed=3)
    made.wait(undisturbed, "succeeded", timeout=90)

    disturbed = made.submit(**SPEC, seed=3)
    kill_the_worker(made, disturbed, 20)
    job = made.wait(disturbed, "succeeded", timeout=90)

    assert job.attempt == 2
    assert made.digest(disturbed) == made.digest(undisturbed)
    for name in ("loss", "loss/mim", "mi_lower_bound", "cmi"):
        assert made.points(disturbed, name) == made.points(undisturbed, name) != {}
    assert job.results is not None
    assert job.results["accuracy"]["networks"] == 1
    assert job.results == made.job(undisturbed).results
    for kind in ("bundle", "npz", "image_folder", "preview", "manifest", "audit", "neighbours", "nearest"):
        assert len(made.artifacts(disturbed, kind)) == 1, kind
    assert len(made.artifacts(disturbed, "snapshot")) == len(made.artifacts(undisturbed, "snapshot"))
    made.assert_invariants()


def test_an_extension_whose_worker_is_killed_keeps_every_byte(made: Cluster, tmp_path: Path) -> None:
    parent = made.submit(**{**LIVING, "method": {"name": "dm", "iterations": 2, "batch_real": 16}})
    made.wait(parent, "succeeded", timeout=90)
    longer = {"name": "dm", "iterations": 200, "batch_real": 16}
    extension = made.submit(**{**LIVING, "dataset": "changed", "method": longer, "extends": parent})
    kill_the_worker(made, extension, 20)
    job = made.wait(extension, "succeeded", timeout=90)

    assert job.attempt == 2
    assert job.results is not None
    assert job.results["lineage"]["changed"] == [str(label) for label in CHANGED]
    before, now = images(made, parent), images(made, extension)
    assert [label for label in before if before[label] != now[label]] == list(CHANGED)
    with zipfile.ZipFile(io.BytesIO(made.content(parent, "bundle"))) as bundle:
        bundle.extractall(tmp_path / "parent")
    alone = engine.run(
        parse(job.spec), tmp_path / "out", run_dir=tmp_path / "run", data_root=made.settings.data_root,
        cache=tmp_path / "cache", parent=tmp_path / "parent",
    )  # fmt: skip
    assert hashlib.sha256((alone.out / "distilled.safetensors").read_bytes()).hexdigest() == made.digest(extension)
    made.assert_invariants()
