from __future__ import annotations

import os
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app.datasets import found
from app.datasets.found import Found
from tests.chaos.harness import Cluster
from worker.data_root import DataRootWatch


def photographs(place: Path) -> None:
    """Two classes of four images."""
    rng = np.random.default_rng(0)
    for name in "ab":
        (place / name).mkdir(parents=True, exist_ok=True)
        for number in range(4):
            Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(place / name / f"{number}.png")


def known(service: Cluster) -> dict[str, Found]:
    with service.database.read() as session:
        return dict(found.known(session))


def test_what_is_put_into_the_data_root_is_looked_at_and_again_once_it_is_mended(
    service: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = service.settings.data_root
    photographs(root / "cats")
    (root / "cats" / "b" / "1.png").write_bytes(b"no image")
    watch, ended = DataRootWatch(service.settings, service.database), threading.Event()
    watch.round(ended)
    error = known(service)["cats"].error
    assert error is not None
    assert "b/1.png" in error.message
    assert str(root) not in error.message
    assert not list(service.settings.runs_dir.iterdir())

    photographs(root / "cats")
    os.utime(root / "cats" / "b" / "1.png", ns=(1, 1))
    watch.round(ended)
    assert "cats" not in known(service), "it may still be changing"
    watch.round(ended)
    facts = known(service)["cats"].facts
    assert facts is not None
    assert (facts.shape, facts.smallest_class) == ((3, 8, 8), 3)
    assert list((service.settings.cache_dir / "datasets").glob("ds_*")), "the first job finds it there"

    def never(*_: object) -> None:
        raise AssertionError("nothing has changed")

    monkeypatch.setattr(DataRootWatch, "_look", never)
    watch.round(ended)


def test_a_worker_that_ends_does_not_wait_for_it(service: Cluster) -> None:
    photographs(service.settings.data_root / "set")
    ended = threading.Event()
    ended.set()
    DataRootWatch(service.settings, service.database).round(ended)
    assert known(service)["set"] == Found()
