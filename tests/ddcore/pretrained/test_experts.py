"""Experts: continued exactly, shared between jobs, trained no further than is read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from ddcore.data.sampling import batches
from ddcore.data.whitening import whitened
from ddcore.errors import ConfigurationError, DataError, Interrupted
from ddcore.machine.compute import Compute
from ddcore.nets import build
from ddcore.pretrained.experts import Experts, experts
from ddcore.pretrained.teachers import teachers
from ddcore.runtime.context import Run
from ddcore.runtime.randomness import stream_seed
from ddcore.spec import ExpertsConfig, TeacherConfig
from ddcore.training import trainer
from tests.ddcore.conftest import blobs
from tests.ddcore.recorder import Recorder

CONFIG = ExpertsConfig(count=2, lr=0.05, batch_size=24)


@pytest.fixture
def run(make_run: Callable[..., Run], tmp_path: Path) -> Run:
    made = make_run()
    made.cache = tmp_path
    return made


def prepared(run: Run, epochs: int = 2, config: ExpertsConfig = CONFIG) -> Experts:
    made = Experts(config, epochs, run)
    made.prepare()
    return made


def files(run: Run) -> dict[str, bytes]:
    assert run.cache is not None
    return {path.name: path.read_bytes() for path in sorted(run.cache.glob("experts/*/*.safetensors"))}


def test_snapshots_are_those_of_plain_sgd(make_run: Callable[..., Run]) -> None:
    run = make_run(augmentation="none")
    trained = prepared(run)
    network = build(run.spec.network, run.dataset.shape, 3)
    network.load_state_dict(trained.snapshot(1, 0))
    images, labels = run.dataset.normalize(run.dataset.train.images), run.dataset.train.labels
    for epoch in (1, 2):
        generator = torch.Generator().manual_seed(stream_seed(1, f"expert/{epoch}"))
        for rows in batches(len(images), 24, generator):
            network.zero_grad()
            F.cross_entropy(network(images[rows]), labels[rows]).backward()
            with torch.no_grad():
                for weight in network.parameters():
                    assert weight.grad is not None
                    weight.sub_(0.05 * weight.grad)
        for name, value in network.state_dict().items():
            torch.testing.assert_close(trained.snapshot(1, epoch)[name], value, rtol=1e-4, atol=1e-5)


def test_experts_learn_and_differ(run: Run) -> None:
    trained, data = prepared(run, 8), run.dataset

    def score(index: int, epoch: int) -> float:
        params = trained.snapshot(index, epoch)
        return trainer.accuracy(run.functional, params, data.test.images, data.test.labels, normalize=data.normalize)

    assert min(score(index, 8) for index in range(2)) > 80
    assert not torch.equal(trained.snapshot(0, 0)["classifier.weight"], trained.snapshot(1, 0)["classifier.weight"])


def test_a_longer_trajectory_goes_on_byte_for_byte(run: Run, make_run: Callable[..., Run], tmp_path: Path) -> None:
    prepared(run, 1)
    short = files(run)
    prepared(run, 3)
    other = make_run()
    other.cache = tmp_path / "other"
    prepared(other, 3)
    assert files(run) == files(other) != short


def test_a_shorter_or_smaller_need_trains_nothing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared(run, 3)
    monkeypatch.setattr("ddcore.training.trainer.train", lambda *_, **__: pytest.fail("trained again"))
    run.random.seed = 99
    trained = prepared(run, 2, CONFIG.model_copy(update={"count": 1}))
    assert len(trained) == 1
    with pytest.raises(DataError, match="epoch 9 of expert 0 can no longer be read"):
        trained.snapshot(0, 9)


def test_a_stop_keeps_the_epochs_that_were_finished(run: Run, make_run: Callable[..., Run], tmp_path: Path) -> None:
    steps = 0

    def stop_in_the_second_epoch() -> None:
        nonlocal steps
        steps += 1
        if steps > 4:
            raise Interrupted(0, None)

    run.check_stop = stop_in_the_second_epoch
    with pytest.raises(Interrupted):
        prepared(run, 3)
    (path,) = tmp_path.glob("experts/*/*.safetensors")
    assert {name[:4] for name in load_file(path)} == {"0000", "0001"}
    run.check_stop = lambda: None
    prepared(run, 3)
    other = make_run()
    other.cache = tmp_path / "other"
    prepared(other, 3)
    assert files(run) == files(other)


def test_without_a_folder_they_stay_in_memory(make_run: Callable[..., Run], run: Run) -> None:
    kept, stored = prepared(make_run(), 2), prepared(run, 2)
    for epoch in range(3):
        assert all(torch.equal(v, stored.snapshot(1, epoch)[k]) for k, v in kept.snapshot(1, epoch).items())


def test_a_damaged_file_is_trained_again_and_said_so(run: Run) -> None:
    prepared(run)
    before = files(run)
    assert run.cache is not None
    (path,) = run.cache.glob("experts/*/0001.safetensors")
    path.write_bytes(path.read_bytes()[:100])
    run.callback = heard = Recorder()
    prepared(run)
    assert "a cached expert is damaged" in heard.logs[0]
    assert files(run) == before


class TestTwoJobsAtOnce:
    def test_each_skips_what_the_other_has_trained(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        """While one trains its first epoch, the other trains everything."""
        slow, fast = Experts(CONFIG, 2, run), Experts(CONFIG, 2, run)
        original, passes = trainer.train, []

        def overtaken(*args: Any, **kwargs: Any) -> None:
            original(*args, **kwargs)
            passes.append(kwargs)
            if len(passes) == 1:
                fast.prepare()

        monkeypatch.setattr("ddcore.training.trainer.train", overtaken)
        slow.prepare()
        assert len(passes) == 2 + 2 * 2

    def test_what_was_kept_first_stays_and_a_longer_trajectory_is_not_cut(
        self, run: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Machines may round differently; what a run has read is what it will read when it is resumed."""
        one = CONFIG.model_copy(update={"count": 1})
        short, long, longest = (Experts(one, epochs, run) for epochs in (1, 3, 4))
        original, kept = trainer.train, {}

        def overtaken(functional: Any, params: Any, *args: Any, **kwargs: Any) -> None:
            monkeypatch.setattr("ddcore.training.trainer.train", original)
            long.prepare()
            kept.update(files(run))
            original(functional, params, *args, **kwargs)
            params["classifier.bias"] += 1e-6

        monkeypatch.setattr("ddcore.training.trainer.train", overtaken)
        short.prepare()
        assert files(run) == kept
        before = [long.snapshot(0, epoch) for epoch in range(4)]
        longest.prepare()
        assert all(torch.equal(longest.snapshot(0, e)[k], v) for e in range(4) for k, v in before[e].items())


def test_experts_that_do_not_fit_are_refused_before_training(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    size = run.functional.parameter_bytes
    prepared(run, 1, CONFIG.model_copy(update={"count": 1}))
    ten = CONFIG.model_copy(update={"count": 10})
    monkeypatch.setattr("ddcore.machine.capacity.free_disk", lambda _: 2 * size + 9 * 4 * size)
    pool = experts(ten, 3, run)
    assert pool.bytes_to_come() == 2 * size + 9 * 4 * size, "one expert lacks two snapshots, nine lack four"
    monkeypatch.setattr("ddcore.training.trainer.train", lambda *_, **__: pytest.fail("trained"))
    with pytest.raises(ConfigurationError, match=r"of which other networks of the job need; choose a smaller"):
        experts(ten, 4, run)
    monkeypatch.setattr("ddcore.machine.capacity.free_disk", lambda _: 2 * size + 9 * 4 * size - 1)
    with pytest.raises(
        ConfigurationError, match=r"`method.experts.count` is 10, .* a `method.experts.count` of at most 9"
    ):
        Experts(ten, 3, run).check_room()
    with pytest.raises(ConfigurationError, match=r"`teacher.pool` is 1, .* of which other networks of the job need"):
        teachers(TeacherConfig(network=run.spec.network), run)


def test_progress_counts_epochs_and_is_silent_where_all_is_there(run: Run) -> None:
    seen: list[tuple[int, int]] = []

    class Heard(Recorder):
        def on_progress(self, done: int, total: int) -> None:
            seen.append((done, total))

    run.callback = heard = Heard()
    prepared(run, 2)
    assert heard.phases == ["pretraining"]
    assert [done for done, _ in seen] == [1, 2, 3, 4]
    assert {total for _, total in seen} == {4}
    prepared(run, 2)
    assert heard.phases == ["pretraining"]


def test_whatever_changes_the_weights_changes_the_hash(make_run: Callable[..., Run]) -> None:
    data = blobs()
    runs = [
        make_run(data),
        make_run(blobs(per_class=23)),
        make_run(whitened(data)),
        make_run(data, augmentation="none"),
        make_run(data, network={"name": "convnet", "width": 4}),
        make_run(data, replace(Compute(torch.device("cpu")), precision="bf16")),
        make_run(replace(data, std=(0.5, 0.5, 0.5))),
    ]
    digests = [Experts(CONFIG, 2, run).digest() for run in runs]
    digests += [
        Experts(CONFIG.model_copy(update=change), 2, runs[0]).digest() for change in ({"lr": 0.1}, {"batch_size": 8})
    ]
    assert len(set(digests)) == 9
    same = [Experts(CONFIG.model_copy(update=change), 5, runs[0]).digest() for change in ({"count": 9}, {"epochs": 7})]
    assert set(same) == {digests[0]}
