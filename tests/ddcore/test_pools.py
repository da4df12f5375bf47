"""Teachers: trained once per content hash, shared by jobs, mended when damaged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ddcore import train
from ddcore.errors import Interrupted
from ddcore.pools import TeacherPool
from ddcore.run import Run
from ddcore.spec import TeacherConfig


def config(**fields: Any) -> TeacherConfig:
    return TeacherConfig.model_validate({"network": {"name": "convnet", "width": 8}, "epochs": 3, **fields})


@pytest.fixture
def run(make_run: Callable[..., Run], tmp_path: Path) -> Run:
    made = make_run()
    made.cache = tmp_path
    return made


def test_teachers_learn_and_differ_and_stay_frozen(run: Run) -> None:
    pool = TeacherPool(config(pool=2, epochs=12, lr=0.05, batch_size=24), run)
    pool.prepare()
    data = run.dataset
    scores = [
        train.accuracy(pool.functional, p, data.test.images, data.test.labels, normalize=data.normalize)
        for p in pool.params
    ]
    assert min(scores) > 80
    first, second = pool.params
    assert not torch.equal(first["classifier.weight"], second["classifier.weight"])
    assert not any(tensor.requires_grad for params in pool.params for tensor in params.values())


def test_a_second_job_reads_what_the_first_trained(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    first = TeacherPool(config(), run)
    first.prepare()
    monkeypatch.setattr("ddcore.train.train", lambda *_, **__: pytest.fail("trained again"))
    run.random.seed = 99
    second = TeacherPool(config(), run)
    second.prepare()
    assert all(torch.equal(first.params[0][name], value) for name, value in second.params[0].items())


def test_a_larger_pool_keeps_the_teachers_there_are(run: Run) -> None:
    small, large = TeacherPool(config(pool=1), run), TeacherPool(config(pool=3), run)
    assert small.digest() == large.digest()
    small.prepare()
    large.prepare()
    assert torch.equal(small.params[0]["classifier.weight"], large.params[0]["classifier.weight"])
    assert len(list(run.cache.glob("teachers/*/*.safetensors"))) == 3  # type: ignore[union-attr]


@pytest.mark.parametrize("change", [{"epochs": 4}, {"weight_decay": 0.0}, {"network": {"name": "convnet", "width": 4}}])
def test_whatever_changes_the_weights_changes_the_hash(run: Run, change: dict[str, Any]) -> None:
    assert TeacherPool(config(), run).digest() != TeacherPool(config(**change), run).digest()


def test_a_damaged_file_is_trained_again_and_said_so(run: Run, recorder: Any) -> None:
    first = TeacherPool(config(), run)
    first.prepare()
    (path,) = run.cache.glob("teachers/*/*.safetensors")  # type: ignore[union-attr]
    path.write_bytes(path.read_bytes()[:100])
    run.callback = heard = recorder()
    second = TeacherPool(config(), run)
    second.prepare()
    assert "damaged" in heard.logs[0]
    assert torch.equal(first.params[0]["classifier.weight"], second.params[0]["classifier.weight"])


def test_a_stop_while_pretraining_keeps_the_finished_teachers(run: Run) -> None:
    asked = 0

    def stop_in_the_second_teacher() -> None:
        nonlocal asked
        asked += 1
        if asked > 12:
            raise Interrupted(0, None)

    run.check_stop = stop_in_the_second_teacher
    pool = TeacherPool(config(pool=2, batch_size=24), run)
    with pytest.raises(Interrupted):
        pool.prepare()
    assert len(list(run.cache.glob("teachers/*/*.safetensors"))) == 1  # type: ignore[union-attr]


def test_one_is_drawn_uniformly(run: Run) -> None:
    pool = TeacherPool(config(pool=3, epochs=1), run)
    pool.prepare()
    generator = torch.Generator().manual_seed(0)
    counts = [0, 0, 0]
    for _ in range(300):
        drawn = pool.draw(generator)
        counts[[params is drawn for params in pool.params].index(True)] += 1
    assert all(70 <= count <= 130 for count in counts)
