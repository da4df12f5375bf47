"""Teachers: trained once per content hash, shared by jobs, mended when damaged."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from ddcore.errors import ConfigurationError, Interrupted
from ddcore.machine.compute import Compute
from ddcore.nets import Params
from ddcore.pretrained.teachers import TeacherPool, teachers
from ddcore.runtime.context import Run
from ddcore.spec import TeacherConfig
from ddcore.training import trainer
from tests.ddcore.recorder import Recorder


def config(**fields: Any) -> TeacherConfig:
    return TeacherConfig.model_validate({"network": {"name": "convnet", "width": 8}, "epochs": 3, **fields})


@pytest.fixture
def run(make_run: Callable[..., Run], tmp_path: Path) -> Run:
    made = make_run()
    made.cache = tmp_path
    return made


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Gets an entry for every teacher that is trained."""
    made: list[int] = []
    original = trainer.train

    def counting(*args: Any, **kwargs: Any) -> None:
        made.append(len(made))
        original(*args, **kwargs)

    monkeypatch.setattr("ddcore.training.trainer.train", counting)
    return made


def members(pool: TeacherPool) -> list[Params]:
    return [pool[index] for index in range(len(pool))]


def files(run: Run) -> list[Path]:
    assert run.cache is not None
    return sorted(path for path in run.cache.rglob("*") if path.is_file())


def networks(run: Run) -> list[Path]:
    assert run.cache is not None
    return sorted(run.cache.glob("teachers/*/*.safetensors"))


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


def test_teachers_learn_and_differ_and_stay_frozen(run: Run) -> None:
    pool = TeacherPool(config(pool=2, epochs=12, lr=0.05, batch_size=24), run)
    pool.prepare()
    data = run.dataset
    scores = [
        trainer.accuracy(pool.functional, p, data.test.images, data.test.labels, normalize=data.normalize)
        for p in members(pool)
    ]
    assert min(scores) > 80
    first, second = members(pool)
    assert not torch.equal(first["classifier.weight"], second["classifier.weight"])
    assert not any(tensor.requires_grad for params in members(pool) for tensor in params.values())


def test_a_second_job_reads_what_the_first_trained(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    first = TeacherPool(config(), run)
    first.prepare()
    monkeypatch.setattr("ddcore.training.trainer.train", lambda *_, **__: pytest.fail("trained again"))
    run.random.seed = 99
    second = TeacherPool(config(), run)
    second.prepare()
    assert all(torch.equal(first[0][name], value) for name, value in second[0].items())


def test_a_larger_pool_keeps_the_teachers_there_are(run: Run) -> None:
    small, large = TeacherPool(config(pool=1), run), TeacherPool(config(pool=3), run)
    assert small.digest() == large.digest()
    small.prepare()
    large.prepare()
    assert torch.equal(small[0]["classifier.weight"], large[0]["classifier.weight"])
    assert len(networks(run)) == 3


@pytest.mark.parametrize("change", [{"epochs": 4}, {"weight_decay": 0.0}, {"network": {"name": "convnet", "width": 4}}])
def test_whatever_changes_the_weights_changes_the_hash(run: Run, change: dict[str, Any]) -> None:
    assert TeacherPool(config(), run).digest() != TeacherPool(config(**change), run).digest()


@pytest.mark.parametrize("change", [{"mean": (0.1, 0.2, 0.3)}, {"std": (0.5, 0.5, 0.5)}], ids=str)
def test_equal_pixels_normalised_otherwise_share_no_teacher(
    make_run: Callable[..., Run], tmp_path: Path, trained: list[int], change: dict[str, Any]
) -> None:
    """A set under two names, one of them built in with statistics of its own, has one digest of its pixels."""
    run = make_run()
    other = make_run(replace(run.dataset, **change))
    run.cache = other.cache = tmp_path
    assert run.dataset.digest == other.dataset.digest
    TeacherPool(config(), run).prepare()
    TeacherPool(config(), other).prepare()
    assert len(trained) == 2


def test_what_other_kernels_trained_is_not_read(make_run: Callable[..., Run]) -> None:
    """Compiled passes and our own kernels round otherwise, so a run's numbers would depend on who filled the cache."""
    kinds: list[dict[str, Any]] = [{}, {"fused": True}, {"compiled": True}]
    pools = [TeacherPool(config(), make_run(compute=Compute(torch.device("cpu"), **kind))) for kind in kinds]
    assert len({pool.digest() for pool in pools}) == 3


def test_a_damaged_file_is_trained_again_and_said_so(run: Run) -> None:
    first = TeacherPool(config(), run)
    first.prepare()
    (path,) = networks(run)
    path.write_bytes(path.read_bytes()[:100])
    run.callback = heard = Recorder()
    second = TeacherPool(config(), run)
    second.prepare()
    assert "damaged" in heard.logs[0]
    assert torch.equal(first[0]["classifier.weight"], second[0]["classifier.weight"])


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
    assert len(networks(run)) == 1


def test_one_is_drawn_uniformly(run: Run) -> None:
    pool = TeacherPool(config(pool=3, epochs=1), run)
    pool.prepare()
    generator = torch.Generator().manual_seed(0)
    counts = [0, 0, 0]
    for _ in range(300):
        drawn = pool.draw(generator)
        counts[[params is drawn for params in members(pool)].index(True)] += 1
    assert all(70 <= count <= 130 for count in counts)


def test_progress_counts_the_epochs_of_what_is_missing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    TeacherPool(config(pool=1, epochs=2), run).prepare()
    told: list[Any] = []
    monkeypatch.setattr(run.callback, "on_phase", lambda *phase: told.append(phase))
    monkeypatch.setattr(run.callback, "on_progress", lambda *done: told.append(done))
    TeacherPool(config(pool=3, epochs=2), run).prepare()
    assert told == [("pretraining", 4), (1, 4), (2, 4), (3, 4), (4, 4)]


class TestLargePools:
    size = 8 * 3 * 9 + 3 * 8 + 8 * 8 * 9 + 3 * 8 + 32 * 3 + 3
    """Parameters of two blocks of width 8 with instance normalisation, on three channels, and of the classifier."""

    def test_the_bytes_of_a_network_are_counted_by_hand(self, run: Run) -> None:
        functional = TeacherPool(config(), run).functional
        assert (functional.parameter_count, functional.parameter_bytes) == (self.size, 4 * self.size)

    def test_teachers_beyond_the_memory_are_read_as_they_are_drawn(
        self, run: Run, trained: list[int], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        whole = TeacherPool(config(pool=5, epochs=1), run)
        whole.prepare()
        monkeypatch.setattr("ddcore.machine.capacity.free_memory", lambda _: 2 * 2 * 4 * self.size)
        run.callback = heard = Recorder()
        pool = TeacherPool(config(pool=5, epochs=1), run)
        pool.prepare()
        assert "5 teachers of 3.76 kB" in heard.logs[0]
        assert "2 are kept" in heard.logs[0]
        assert len(pool._held) == 2
        for index in (4, 3, 0, 4, 4, 1, 2):
            assert equal(pool[index], whole[index])
            assert len(pool._held) == 2
            assert list(pool._held)[-1] == index
        pool[1], pool[3]
        assert list(pool._held) == [1, 3], "the one used longest ago went first"
        assert len(trained) == 5
        with pytest.raises(IndexError, match="no teacher 5 in a pool of 5"):
            pool[5]

    def test_a_teacher_that_went_missing_is_trained_again_when_drawn(
        self, run: Run, trained: list[int], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("ddcore.machine.capacity.free_memory", lambda _: 1)
        pool = TeacherPool(config(pool=2, epochs=1), run)
        pool.prepare()
        before = {name: value.clone() for name, value in pool[1].items()}
        pool[0]
        for path in files(run):
            path.unlink()
        assert equal(pool[1], before)
        assert len(trained) == 3

    def test_a_disk_too_small_is_refused_before_training(
        self, run: Run, trained: list[int], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("ddcore.machine.capacity.free_disk", lambda _: 10 * 4 * self.size)
        teachers(config(pool=10), run)
        with pytest.raises(ConfigurationError) as refused:
            teachers(config(pool=11, epochs=5), run)
        assert str(refused.value) == (
            "`teacher.pool` is 11, and those of its `convnet` networks that have not been trained yet need 41.3 kB "
            "(939 parameters each), but the disk of the cache has 37.6 kB, 37.6 kB of which other networks of the job "
            "need; choose a smaller `teacher.network`, or make room"
        )
        assert trained == []

    def test_what_is_cached_already_needs_no_room(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        TeacherPool(config(pool=2, epochs=1), run).prepare()
        monkeypatch.setattr("ddcore.machine.capacity.free_disk", lambda _: 3 * 4 * self.size)
        assert len(teachers(config(pool=5, epochs=1), run)) == 5
        with pytest.raises(ConfigurationError, match=r"a `teacher\.pool` of at most 5"):
            TeacherPool(config(pool=6, epochs=1), run).check_room()

    def test_without_a_cache_half_of_the_memory_is_the_limit(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        run.cache = None
        monkeypatch.setattr("ddcore.machine.capacity.free_memory", lambda _: 2 * 4 * 4 * self.size)
        assert len(teachers(config(pool=4), run)) == 4
        with pytest.raises(ConfigurationError, match=r"50% of the free memory is 15 kB; .* at most 4"):
            TeacherPool(config(pool=5), run).check_room()


class TestTwoJobsAtOnce:
    def test_each_skips_what_the_other_has_trained(
        self, run: Run, trained: list[int], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """While one trains its first teacher, the other trains all of them."""
        slow, fast = TeacherPool(config(pool=4, epochs=1), run), TeacherPool(config(pool=4, epochs=1), run)
        counting = trainer.train

        def overtaken(*args: Any, **kwargs: Any) -> None:
            counting(*args, **kwargs)
            if len(trained) == 1:
                fast.prepare()

        monkeypatch.setattr("ddcore.training.trainer.train", overtaken)
        slow.prepare()
        assert len(trained) == 1 + 4
        assert all(equal(one, other) for one, other in zip(members(slow), members(fast), strict=True))
        assert [path.name for path in files(run)] == [f"{index:04d}.safetensors" for index in range(4)]

    def test_the_first_to_finish_decides(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        """Machines may round differently; what a run uses is what it will read when it is resumed."""
        slow, fast = TeacherPool(config(epochs=1), run), TeacherPool(config(epochs=1), run)
        original = trainer.train

        def overtaken(functional: Any, params: Any, *args: Any, **kwargs: Any) -> None:
            monkeypatch.setattr("ddcore.training.trainer.train", original)
            fast.prepare()
            original(functional, params, *args, **kwargs)
            params["classifier.bias"] += 1e-6

        monkeypatch.setattr("ddcore.training.trainer.train", overtaken)
        slow.prepare()
        assert equal(slow[0], fast[0])

    def test_threads_leave_whole_files_and_nothing_else(self, run: Run) -> None:
        pools = [TeacherPool(config(pool=3, epochs=1), run) for _ in range(3)]
        with ThreadPoolExecutor(len(pools)) as threads:
            list(threads.map(TeacherPool.prepare, pools))
        assert [path.name for path in files(run)] == [f"{index:04d}.safetensors" for index in range(3)]
        fresh = TeacherPool(config(pool=3, epochs=1), run)
        assert all(
            equal(one, other) for pool in pools for one, other in zip(members(pool), members(fresh), strict=True)
        )
