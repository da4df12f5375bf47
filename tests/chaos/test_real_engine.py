"""The real engine under the real worker: killed in the middle, it ends with the same bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.chaos.expectations import expect_no_engine
from tests.chaos.harness import cluster

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


def test_a_killed_worker_does_not_change_a_byte(tmp_path: Path) -> None:
    slow = {"DD_ENGINE_MODULE": "worker.engine_main", "DD_ENGINE_THREADS": "1", "DD_LEASE_S": "4"}
    with cluster(tmp_path / "home", **slow) as made:
        worker = made.worker()
        undisturbed = made.submit(**SPEC, seed=3)
        made.wait(undisturbed, "succeeded", timeout=90)

        disturbed = made.submit(**SPEC, seed=3)
        made.wait(disturbed, lambda job: (job.checkpoint_step or 0) >= 20)
        worker.kill()
        expect_no_engine(made)
        assert made.job(disturbed).status == "running"
        made.worker()
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
