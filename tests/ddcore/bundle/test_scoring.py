"""Sets of others scored as jobs score their own."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typing_extensions import override

import ddcore
from ddcore import bundle, engine
from ddcore.bundle.exports import export_imagefolder, export_npz
from ddcore.bundle.folder import read_manifest
from ddcore.data import digits
from ddcore.errors import ConfigurationError, DataError, OutOfMemoryError
from ddcore.evaluation.evaluation import Evaluation
from ddcore.runtime.callback import Callback, Phase
from ddcore.spec import SpecError, parse

SCORING: dict[str, Any] = {
    "network": {"name": "convnet", "depth": 1, "width": 8},
    "evaluation": {"repeats": 2, "epochs": 12, "audit": False},
    "compile": "off",
    "seed": 11,
}
TEACHER = {"network": {"name": "convnet", "depth": 1, "width": 4, "norm": "batch"}, "epochs": 1, "pool": 3}


def asked(**evaluation: Any) -> dict[str, Any]:
    fields: dict[str, Any] = {**SCORING, "evaluation": {**SCORING["evaluation"], **evaluation}}
    fields["evaluation"].pop("audit")
    return fields


def made(folder: Path, **fields: Any) -> Path:
    """Folder of the bundle of a job of three steps."""
    job = {"dataset": "digits", "ipc": 2, "method": {"name": "dm", "iterations": 3, "batch_real": 8}}
    spec = parse({**job, **SCORING, "metrics": {"probe": "random"}, **fields})
    engine.run(spec, folder / "out", run_dir=folder / "run")
    return folder / "out"


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scored beside random images and the best coreset, with two architectures, its worth, and as 8 bits."""
    evaluation = {
        **SCORING["evaluation"],
        "controls": ["random", "best_coreset"],
        "networks": [SCORING["network"], {"name": "mlp", "width": 8}],
        "teacher": TEACHER,
        "worth": {"sizes": 2},
    }
    return made(tmp_path_factory.mktemp("job"), evaluation=evaluation)


@pytest.fixture
def everything() -> dict[str, Any]:
    return asked(
        controls=["random", "best_coreset"],
        networks=[SCORING["network"], {"name": "mlp", "width": 8}],
        teacher=TEACHER,
        worth={"sizes": 2},
    )


SAME = ("accuracy", "controls", "differences", "architectures", "worth", "protocol", "network", "epochs")


def test_an_export_of_ours_scores_exactly_what_its_job_reported(
    job: Path, everything: dict[str, Any], tmp_path: Path
) -> None:
    export_npz(job, tmp_path / "set.npz")
    reported = bundle.read(job).results
    scored = ddcore.score(tmp_path / "set.npz", "digits", values="unit", fields=everything).results
    assert reported["accuracy"]["values"][0] != reported["accuracy"]["values"][1]
    for name in SAME:
        assert scored[name] == reported[name], name
    assert (scored.origin.file, scored.origin.values) == ("set.npz", "unit")
    assert scored["origin"]["sha256"] == hashlib.sha256((tmp_path / "set.npz").read_bytes()).hexdigest()


def test_another_seed_gives_another_score(job: Path, everything: dict[str, Any], tmp_path: Path) -> None:
    export_npz(job, tmp_path / "set.npz")
    evaluation = {**everything["evaluation"], "worth": None, "controls": ["random"], "networks": []}
    other = {**everything, "evaluation": evaluation, "seed": 12}
    scored = bundle.score(tmp_path / "set.npz", "digits", values="unit", fields=other).results
    assert scored["accuracy"]["values"] != bundle.read(job).results["accuracy"]["values"]


def test_a_whitened_export_scores_as_its_job(tmp_path: Path) -> None:
    out = made(tmp_path, whitening=True)
    export_npz(out, tmp_path / "set.npz")
    fields = {**asked(), "whitening": True}
    scored = bundle.score(tmp_path / "set.npz", "digits", fields, values="unit").results
    assert scored["accuracy"] == bundle.read(out).results["accuracy"]
    seen = bundle.read(out).training_images()
    torch.save(seen, tmp_path / "seen.pt")
    bundle.score(tmp_path / "seen.pt", "digits", fields, values="normalised", out=tmp_path / "again")
    again = bundle.read(tmp_path / "again")
    assert again.spec.whitening
    torch.testing.assert_close(again.training_images(), seen, rtol=0, atol=1e-4)


def test_an_export_with_labels_of_its_own_scores_as_its_job(tmp_path: Path) -> None:
    soft = {"labels": "soft", "teacher": TEACHER}
    out = made(tmp_path, evaluation={**SCORING["evaluation"], **soft})
    export_npz(out, tmp_path / "set.npz")
    reported = bundle.read(out).results
    scored = bundle.score(tmp_path / "set.npz", "digits", asked(**soft), values="unit").results
    for name in ("accuracy", "controls", "differences", "protocol"):
        assert scored[name] == reported[name], name
    hard = bundle.score(tmp_path / "set.npz", "digits", asked(), values="unit").results
    assert hard["accuracy"] == reported["accuracy"], "the labels of the set are learned in any case"
    assert hard["controls"] != reported["controls"]


def test_what_is_written_is_a_bundle_that_trains_to_the_same_score(job: Path, tmp_path: Path) -> None:
    export_imagefolder(job, tmp_path / "set.zip")
    scored = bundle.score(tmp_path / "set.zip", "digits", out=tmp_path / "out", fields=asked()).results
    content = bundle.read(tmp_path / "out")
    assert content.results == scored
    assert scored["bytes"] == (tmp_path / "out" / "distilled.safetensors").stat().st_size
    expected = (bundle.read(job).images * 255).round().clamp(0, 255) / 255
    assert torch.equal(content.images, expected)
    again = bundle.train_on(tmp_path / "out")
    assert again.accuracy == scored.accuracy
    assert again.controls == scored.controls
    assert again.origin == scored.origin
    assert bundle.train_on(tmp_path / "out", repeats=1)["accuracy"]["values"] == scored["accuracy"]["values"][:1]


def test_the_card_says_that_others_made_the_set(job: Path, tmp_path: Path) -> None:
    export_npz(job, tmp_path / "set.npz")
    bundle.score(tmp_path / "set.npz", "digits", values="unit", out=tmp_path / "out", fields=asked(repeats=1, epochs=1))
    text = " ".join((tmp_path / "out" / "README.md").read_text().split())
    assert "# digits: 2 per class, a set of others" in text
    assert "made by others (read from `set.npz`, SHA-256 `" in text
    assert "the images of set.npz are scored" in text
    assert "Nothing was distilled here" in text
    assert "ddctl run spec.json" not in text
    assert "random subset" not in text.lower()
    assert "ddctl run spec.json" in (job / "README.md").read_text()


def test_nothing_is_made_like_a_set_of_others(job: Path, tmp_path: Path) -> None:
    export_npz(job, tmp_path / "set.npz")
    bundle.score(tmp_path / "set.npz", "digits", values="unit", out=tmp_path / "out", fields=asked(repeats=1, epochs=1))
    spec = parse({"dataset": "digits", "ipc": 2, "method": "random", **asked(repeats=0)})
    with pytest.raises(ConfigurationError, match=r"holds a set of others \(set\.npz\), which was only scored here"):
        engine.run(spec, tmp_path / "grown", run_dir=tmp_path / "run", parent=tmp_path / "out")


@pytest.fixture
def real(tmp_path: Path) -> Path:
    """The first two real images of each digit, as bytes in the order of the classes."""
    train = digits.read().train
    rows = torch.cat([(train.labels == label).nonzero().flatten()[:2] for label in range(10)])
    torch.save(train.images[rows], tmp_path / "real.pt")
    return tmp_path / "real.pt"


def test_labels_of_the_set_are_learned(real: Path, tmp_path: Path) -> None:
    """Labels that say the next class in everything teach just that: hardly a test image is right."""
    images = torch.load(real, weights_only=True)
    wrong = torch.eye(10).roll(1, dims=1).repeat_interleave(2, dim=0) * 20 - 10
    for name, logits in (("right", wrong.roll(-1, dims=1)), ("wrong", wrong)):
        torch.save((images, logits), tmp_path / f"{name}.pt")
    fields = asked(repeats=1, epochs=60)
    right = bundle.score(tmp_path / "right.pt", "digits", out=tmp_path / "out", fields=fields).results
    other = bundle.score(tmp_path / "wrong.pt", "digits", fields=fields).results
    assert right.protocol is not None
    assert right.protocol.labels == "soft"
    assert right["controls"] == other["controls"]
    assert right["accuracy"]["mean"] > 40 > 20 > other["accuracy"]["mean"]
    content = bundle.read(tmp_path / "out")
    assert content.soft_labels is not None
    torch.testing.assert_close(content.soft_labels, torch.softmax(wrong.roll(-1, dims=1), dim=1))
    assert bundle.train_on(tmp_path / "out")["accuracy"] == right["accuracy"]
    with pytest.raises(SpecError, match="the set has labels of its own"):
        bundle.score(tmp_path / "right.pt", "digits", fields=asked(labels="online", teacher=TEACHER))


@pytest.mark.parametrize("labels", ["soft", "online", "stored"])
def test_labels_of_a_teacher_go_with_the_bundle(labels: str, real: Path, tmp_path: Path) -> None:
    fields = asked(labels=labels, teacher=TEACHER, repeats=1, epochs=2)
    scored = bundle.score(real, "digits", out=tmp_path / "out", fields=fields).results
    assert scored.protocol is not None
    assert scored.protocol.labels == labels
    again = bundle.train_on(tmp_path / "out")
    assert (again.accuracy, again.controls) == (scored.accuracy, scored.controls)
    assert ((tmp_path / "out" / "teacher.safetensors").exists()) == (labels == "online")
    assert ((tmp_path / "out" / "labels.safetensors").exists()) == (labels == "stored")


def test_the_specification_of_the_bundle_is_the_control(real: Path, tmp_path: Path) -> None:
    bundle.score(real, "digits", out=tmp_path / "out", fields=asked(repeats=1, epochs=1))
    spec = read_manifest(tmp_path / "out").spec
    assert (spec["method"]["name"], spec["ipc"], spec["seed"]) == ("random", 2, 11)
    assert parse(spec).evaluation.repeats == 1


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"method": "dm"}, r"`method` says how a set is made, but this one is only scored; .*allowed: network, eval"),
        ({"ipc": 3}, "`ipc` says how a set is made"),
        ({"network": "convnot"}, "convnot"),
        ({"evaluation": {"repeats": 0}}, r"`repeats` is 0, so nothing would be scored; choose 1 to 100"),
        ({"evaluation": {"audit": True}}, r"`audit` is true"),
        ({"evaluation": {"epochz": 1}}, "epochz"),
        ({"evaluation": {"protocol": "mtt"}}, r"its file does not say; give `evaluation.lr` as its authors publish it"),
        ({"evaluation": {"protocol": "pdd", "lr": 0.01}}, "staging"),
        ({"evaluation": {"during": {}}}, "takes no steps"),
    ],
)
def test_fields_that_no_score_depends_on_are_refused(fields: dict[str, Any], said: str, real: Path) -> None:
    with pytest.raises(SpecError, match=said):
        bundle.score(real, "digits", fields=fields)


def test_a_protocol_is_followed(real: Path) -> None:
    evaluation = {"protocol": "mtt", "lr": 0.02, "repeats": 1, "epochs": 1}
    scored = bundle.score(real, "digits", fields={**SCORING, "evaluation": evaluation})
    assert scored.results.protocol is not None
    assert (scored.results.protocol.name, scored.results.protocol.lr) == ("mtt", 0.02)
    assert scored.spec.evaluation.momentum == 0.9


def test_the_set_must_fit_the_dataset(real: Path) -> None:
    with pytest.raises(DataError, match=r"there is no folder or file"):
        bundle.score(real.with_name("other.pt"), "digits", fields=asked())
    images = torch.load(real, weights_only=True)
    torch.save(images[:, :, :7], real)
    with pytest.raises(DataError, match=r"shape \(20, 1, 7, 8\), but those of digits are \(N, 1, 8, 8\)"):
        bundle.score(real, "digits", fields=asked())


def test_the_data_root_comes_from_the_environment_unless_given(
    real: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DD_DATA_ROOT", str(tmp_path / "from environment"))
    with pytest.raises(DataError, match="from environment/garments"):
        bundle.score(real, "garments")
    with pytest.raises(DataError, match="given/garments"):
        bundle.score(real, "garments", data_root=tmp_path / "given")


class Phases(Callback):
    """Remembers what is told of progress."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, int | None]] = []

    def on_phase(self, phase: Phase, total: int | None) -> None:
        self.seen.append((phase, total))


def test_memory_that_runs_out_is_named(real: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Evaluation, "prepare", lambda *_: torch.empty(10**15))
    with pytest.raises(OutOfMemoryError, match=r"lower `evaluation.batch_size`"):
        ddcore.score(real, "digits", asked())


def test_progress_is_told(real: Path, tmp_path: Path) -> None:
    phases = Phases()
    bundle.score(real, "digits", out=tmp_path / "out", callback=phases, fields=asked())
    assert phases.seen == [("loading", None), ("evaluating", 52), ("finalizing", None)]


class Told(Callback):
    """Keeps what a run says."""

    def __init__(self) -> None:
        self.said: list[str] = []

    @override
    def on_log(self, level: str, message: str) -> None:
        self.said.append(message)

    @property
    def taken(self) -> int:
        return sum("was scored before" in message for message in self.said)


def test_accuracies_on_the_full_training_set_are_kept_for_the_next_set(job: Path, tmp_path: Path) -> None:
    """They depend on no distilled set: another one takes them, and comes to what it would without."""
    export_npz(job, tmp_path / "set.npz")
    with np.load(tmp_path / "set.npz") as arrays:
        np.savez(tmp_path / "other.npz", images=1 - arrays["images"], labels=arrays["labels"])
    fields = asked(scores=["label_robust"], teacher=TEACHER, full_images=1500)

    def scored(file: str, cache: str | None, **more: Any) -> tuple[Any, int]:
        told = Told()
        folder = None if cache is None else tmp_path / cache
        options = {"values": "unit", "cache": folder, "callback": told}
        return ddcore.score(tmp_path / file, "digits", {**fields, **more}, **options).results, told.taken

    first, none = scored("set.npz", "cache")
    other, both = scored("other.npz", "cache")
    alone, _ = scored("other.npz", None)
    seed, others = scored("set.npz", "cache", seed=12)
    assert (none, both, others) == (0, 2, 0)
    assert other == alone
    ingredients = [found.scores["label_robust"].ingredients["full_hard"] for found in (first, other, seed)]
    assert ingredients[0] == ingredients[1] != ingredients[2]
    assert first.accuracy != other.accuracy
