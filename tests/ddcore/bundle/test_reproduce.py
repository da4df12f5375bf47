from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest
import torch
from typing_extensions import override

from ddcore import bundle, engine
from ddcore.bundle.exports import export_zip
from ddcore.bundle.folder import read_manifest
from ddcore.data import sources
from ddcore.errors import DataError, OutOfMemoryError
from ddcore.evaluation.evaluation import Evaluation
from ddcore.methods.dm import DM
from ddcore.nets import norm_relu_pool
from ddcore.registry import _IMPLEMENTATIONS, implements
from ddcore.runtime.callback import Callback
from ddcore.spec import METHODS, PROTOCOLS, DMConfig, method_config, parse
from ddcore.synthetic.parameter import Learned
from ddcore.synthetic.set import SyntheticSet
from tests.ddcore.compiler import needs_compiler
from tests.ddcore.weights import OURS, train_ours

FIELDS: dict[str, Any] = {
    "dataset": "digits",
    "ipc": 2,
    "method": {"name": "dm", "iterations": 3, "batch_real": 8},
    "network": {"name": "convnet", "depth": 1, "width": 8},
    "compile": "off",
    "metrics": {"probe": "random"},
    "evaluation": {"repeats": 2, "epochs": 12},
    "seed": 11,
}


ONLINE = {
    "labels": "online",
    "audit": False,
    "repeats": 1,
    "epochs": 2,
    "controls": ["random", "herding"],
    "teacher": {"network": {"name": "convnet", "depth": 1, "width": 4, "norm": "batch"}, "epochs": 1, "pool": 3},
}


def made(folder: Path, **fields: Any) -> Path:
    """Folder of the bundle of a run."""
    out = folder / "out"
    engine.run(parse({**FIELDS, **fields}), out, run_dir=folder / "run")
    return out


def reproduces(out: Path) -> bool:
    """Whether the bundle's own recipe gives the results of the run, but for what the engine adds."""
    reported = dict(bundle.read(out).results)
    assert reported.pop("steps") == 3
    assert reported.pop("bytes") == (out / "distilled.safetensors").stat().st_size
    reported.pop("probe")
    reported.pop("audit")
    if "teacher" in reported:
        assert reported["teacher"].pop("bytes") == (out / "teacher.safetensors").stat().st_size
    return bundle.train_on(out) == reported


@pytest.fixture(scope="module")
def scored_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("scored"))


def test_training_again_gives_the_reported_figures(scored_bundle: Path) -> None:
    assert reproduces(scored_bundle)


def test_memory_that_runs_out_is_named(scored_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Evaluation, "prepare", lambda *_: torch.empty(10**15))
    with pytest.raises(OutOfMemoryError, match="train on it where there is more"):
        bundle.train_on(scored_bundle)


@needs_compiler
def test_training_again_goes_through_the_kernels_of_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ddcore.spec.speed.OWN_KERNELS_S", 0.0)
    out = made(tmp_path, compile="auto", network={"name": "convnet", "depth": 1, "width": 32})
    manifest = read_manifest(out)
    assert (manifest.compute["compiled"], manifest.compute["own_kernels"]) == (False, True)
    calls: list[str] = []
    kernel = norm_relu_pool._call

    def noted(way: str, *arguments: Any) -> None:
        calls.append(way)
        kernel(way, *arguments)

    monkeypatch.setattr(norm_relu_pool, "_call", noted)
    assert reproduces(out)
    assert {*calls} == {"forward", "backward"}


@pytest.fixture
def learning() -> Iterator[str]:
    """A method that learns a learning rate beside the images."""

    @method_config
    class LearningConfig(DMConfig):
        name: Literal["learning"] = "learning"  # type: ignore[assignment] # a component of its own, under its own name
        learns_lr: ClassVar[bool] = True

    @implements(LearningConfig)
    class Learning(DM):
        @override
        def start(self) -> SyntheticSet:
            images = super().start().stored
            rate = Learned(torch.tensor(0.0321), lr=1.0, momentum=0.0)
            return SyntheticSet(images, self.run.spec.ipc, lr=1.0, momentum=0.5, others={"lr": rate})

    yield "learning"
    METHODS.unregister("learning")
    del _IMPLEMENTATIONS[LearningConfig]


@pytest.mark.parametrize("protocol", [name for name in PROTOCOLS if "staging" not in PROTOCOLS[name].fields])
def test_training_again_gives_the_reported_figures_by_every_protocol(
    protocol: str, tmp_path: Path, learning: str
) -> None:
    method = {**FIELDS["method"], "name": learning}
    evaluation = {"protocol": protocol, "repeats": 1, "epochs": 4, "batch_size": 8, "teacher": ONLINE["teacher"]}
    out = made(tmp_path, method=method, evaluation=evaluation)
    content, manifest = bundle.read(out), read_manifest(out)
    assert reproduces(out)
    reported = content.results["protocol"]
    assert reported["name"] == manifest.recipe.protocol == protocol
    assert reported["lr"] == manifest.recipe.lr
    assert manifest.learning_rate == content.learning_rate == pytest.approx(0.0321)
    assert (manifest.recipe.lr == content.learning_rate) == (protocol == "mtt")
    assert tuple(reported["augmentation"]) == manifest.recipe.augmentation
    assert (reported["augmenter"], reported["cutmix"]) == (manifest.recipe.augmenter, manifest.recipe.cutmix)


@pytest.mark.parametrize("labels", ["hard", "soft"])
def test_training_again_gives_controls_soft_labels_and_scores(labels: str, tmp_path: Path) -> None:
    evaluation = {
        "repeats": 1,
        "epochs": 2,
        "networks": ["mlp", {"name": "convnet", "depth": 1, "width": 8, "norm": "batch"}],
        "labels": labels,
        "temperature": 2.0,
        "teacher": {"network": {"name": "convnet", "depth": 1, "width": 4}, "epochs": 1, "pool": 3},
        "controls": ["random", "herding", "full"],
        "full_images": 1500,
        "scores": ["label_robust", "augmentation_robust"],
    }
    out = made(tmp_path, evaluation=evaluation)
    content = bundle.read(out)
    assert reproduces(out)
    assert read_manifest(out).recipe.labels == labels
    assert (content.soft_labels is not None) == (labels == "soft")
    if content.soft_labels is not None:
        assert content.soft_labels.shape == (20, 10)
        torch.testing.assert_close(content.soft_labels.sum(dim=1), torch.ones(20))


class Phases(Callback):
    """Remembers the phases."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, int | None]] = []

    def on_phase(self, phase: str, total: int | None) -> None:
        self.seen.append((phase, total))


@pytest.mark.parametrize("fields", [{"teacher_mode": "train"}, {"label_loss": "mse_logits"}])
def test_the_teacher_goes_with_the_set_and_labels_alike(fields: dict[str, Any], tmp_path: Path) -> None:
    """Nothing is trained but the networks that are scored, and the figures are the same."""
    out = made(tmp_path, evaluation={**ONLINE, **fields})
    manifest, content = read_manifest(out), bundle.read(out)
    recipe, report = manifest.recipe, content.results["teacher"]
    assert recipe.teacher is not None
    assert (recipe.labels, recipe.label_loss) == ("online", fields.get("label_loss", "kl"))
    assert (recipe.teacher.mode, recipe.teacher.dtype) == (fields.get("teacher_mode", "eval"), "float16")
    assert recipe.teacher.network["name"] == "convnet"
    data = (out / recipe.teacher.file).read_bytes()
    assert manifest.files[recipe.teacher.file].sha256 == hashlib.sha256(data).hexdigest()
    assert report["bytes"] == len(data)
    phases = Phases()
    again = bundle.train_on(out, callback=phases)
    assert [phase for phase, _ in phases.seen] == ["loading", "evaluating"]
    for name in ("accuracy", "controls", "protocol"):
        assert again[name] == content.results[name]
    assert again["teacher"] == {name: value for name, value in report.items() if name != "bytes"}
    export_zip(out, tmp_path / "bundle.zip")
    with zipfile.ZipFile(tmp_path / "bundle.zip") as archive:
        assert archive.read("teacher.safetensors") == data


def test_stored_labels_go_with_the_set_in_the_place_of_the_teacher(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The networks on the set learn the labels of the bundle; real images of the controls have a teacher again."""
    out = made(tmp_path, evaluation={**ONLINE, "labels": "stored", "repeats": 2, "epochs": 3, "stored_epochs": 2})
    manifest, content = read_manifest(out), bundle.read(out)
    assert manifest.recipe.stored_labels is not None
    assert (manifest.recipe.labels, manifest.recipe.label_loss) == ("stored", "kl")
    assert (manifest.recipe.stored_labels.epochs, manifest.recipe.teacher) == (2, None)
    assert not (out / "teacher.safetensors").exists()
    data = (out / "labels.safetensors").read_bytes()
    assert content.results["labels"] == {"epochs": 2, "bytes": len(data)}
    assert len(data) > 2 * 2 * 20 * 10
    assert content.results["teacher"]["accuracy"] > 0
    assert content.epoch_labels is not None
    assert content.epoch_labels.logits.shape == (2, 20, 10)
    again = bundle.train_on(out)
    for name in ("accuracy", "controls", "protocol", "teacher"):
        assert again[name] == content.results[name]

    content.epoch_labels.logits.neg_()
    monkeypatch.setattr("ddcore.bundle.reproduce.read", lambda _: content)
    otherwise = bundle.train_on(out)
    assert otherwise["accuracy"]["values"] != again["accuracy"]["values"], "the labels of the bundle decide"
    assert otherwise["controls"] == again["controls"]
    document = json.loads((out / "manifest.json").read_text())
    del document["recipe"]["stored_labels"]
    (out / "manifest.json").write_text(json.dumps(document))
    monkeypatch.undo()
    with pytest.raises(DataError, match=r"`evaluation\.labels`: 'stored', but labels of epochs are missing"):
        bundle.read(out)


@pytest.mark.parametrize("loss", ["kl", "mse_logits"])
def test_the_highest_logits_alone_go_with_the_set(loss: str, tmp_path: Path) -> None:
    """And networks learn them again with the same figures, each network of a control its own."""
    fields = {"labels": "stored", "stored_epochs": 2, "stored_top": 3, "repeats": 2, "epochs": 3, "label_loss": loss}
    out = made(tmp_path, evaluation={**ONLINE, **fields})
    content, stored = bundle.read(out), read_manifest(out).recipe.stored_labels
    assert stored is not None
    assert (stored.epochs, stored.top) == (2, 3)
    size = (out / "labels.safetensors").stat().st_size
    assert content.results["labels"] == {"epochs": 2, "top": 3, "bytes": size}
    assert 2 * 20 * (3 * 3 + 2) < size < 2 * 20 * 10 * 2
    again = bundle.train_on(out)
    for name in ("accuracy", "controls", "protocol", "teacher"):
        assert again[name] == content.results[name]


def test_the_frozen_network_goes_with_the_set_and_has_the_same_features(tmp_path: Path) -> None:
    """For classifiers on its features alone: no network is trained again, and the figures are the same."""
    asked = {"protocol": "linear_probe", "repeats": 2, "epochs": 3, "lr": 0.01, "audit": False}
    out = made(tmp_path, evaluation={**asked, "teacher": ONLINE["teacher"]})
    manifest, content = read_manifest(out), bundle.read(out)
    assert manifest.recipe.teacher is not None
    assert (manifest.recipe.trains, manifest.recipe.labels, manifest.recipe.label_loss) == ("head", "hard", None)
    assert manifest.recipe.networks == (manifest.recipe.teacher.network,)
    assert content.results["network"]["norm"] == "batch"
    phases = Phases()
    again = bundle.train_on(out, callback=phases)
    assert [phase for phase, _ in phases.seen] == ["loading", "evaluating"]
    for name in ("accuracy", "controls", "protocol"):
        assert again[name] == content.results[name]
    document = json.loads((out / "manifest.json").read_text())
    del document["files"]["teacher.safetensors"]
    (out / "manifest.json").write_text(json.dumps(document))
    with pytest.raises(DataError, match=r"`evaluation\.trains`: 'head', but a teacher is missing"):
        bundle.train_on(out)


def test_a_backbone_is_named_by_its_hash_and_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bundle does not hold it: it may be large, and is not ours to hand on."""
    folder = tmp_path / "backbones"
    train_ours(sources.load("digits", None, None), folder, classes=10)
    digest = hashlib.sha256((folder / "ours.safetensors").read_bytes()).hexdigest()
    monkeypatch.setenv("DD_BACKBONES_DIR", str(folder))
    asked = {"protocol": "linear_probe", "repeats": 2, "epochs": 3, "lr": 0.01, "audit": False}
    out = made(tmp_path, evaluation={**asked, "backbone": {"weights": "ours", "network": OURS}})
    manifest, content = read_manifest(out), bundle.read(out)
    assert manifest.recipe.teacher is None
    assert manifest.recipe.backbone is not None
    assert (manifest.recipe.backbone.sha256, manifest.recipe.backbone.shape) == (digest, (1, 8, 8))
    assert manifest.recipe.networks[0]["network"] == manifest.recipe.backbone.network
    assert "teacher.safetensors" not in manifest.files
    assert f"`ours.safetensors` with the SHA-256\n`{digest}`. This bundle does not hold it" in (
        out / "README.md"
    ).read_text("utf-8")
    again = bundle.train_on(out)
    for name in ("accuracy", "controls", "protocol", "backbone"):
        assert again[name] == content.results[name]
    monkeypatch.delenv("DD_BACKBONES_DIR")
    assert bundle.train_on(out, repeats=1, backbones=folder)["accuracy"]["networks"] == 1
    needs = (
        rf"the bundle does not hold: ours\.safetensors, SHA-256 {digest}\. Put that file into the folder that DD_BACK"
    )
    with pytest.raises(DataError, match=needs):
        bundle.train_on(out)
    with pytest.raises(DataError, match=needs + r".* holds no ours\.safetensors; there is none"):
        bundle.train_on(out, backbones=tmp_path)
    train_ours(sources.load("digits", None, None), folder, classes=10, steps=1)
    with pytest.raises(DataError, match=needs + r".*it is another file"):
        bundle.train_on(out, backbones=folder)


def test_an_unscored_set_has_its_teacher_and_a_set_without_one_is_refused(tmp_path: Path) -> None:
    out = made(tmp_path, evaluation={**ONLINE, "repeats": 0})
    content = bundle.read(out)
    assert content.results["accuracy"] is None
    assert content.results["teacher"]["accuracy"] > 0
    assert bundle.train_on(out, repeats=1)["accuracy"]["networks"] == 1
    manifest = json.loads((out / "manifest.json").read_text())
    del manifest["files"]["teacher.safetensors"]
    (out / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(DataError, match=r"`evaluation\.labels`: 'online', but a teacher is missing"):
        bundle.train_on(out)
    (out / "teacher.safetensors").write_bytes(b"other")
    manifest["files"]["teacher.safetensors"] = {"bytes": 5, "sha256": hashlib.sha256(b"else").hexdigest()}
    (out / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(DataError, match=r"teacher\.safetensors was changed or damaged"):
        bundle.train_on(out)


def test_an_unscored_set_has_its_soft_labels(tmp_path: Path) -> None:
    teacher = {"network": {"name": "convnet", "depth": 1, "width": 4}, "epochs": 1}
    out = made(tmp_path, evaluation={"repeats": 0, "labels": "soft", "teacher": teacher})
    content = bundle.read(out)
    assert content.results["accuracy"] is None
    assert content.soft_labels is not None


def test_fewer_networks_are_the_first_of_those_reported(scored_bundle: Path) -> None:
    reported = bundle.read(scored_bundle).results
    again = bundle.train_on(str(scored_bundle), repeats=1)
    assert again["accuracy"]["values"] == reported["accuracy"]["values"][:1]
    assert again["controls"]["random"]["values"] == reported["controls"]["random"]["values"][:1]


def test_progress_is_told(scored_bundle: Path) -> None:
    phases = Phases()
    bundle.train_on(scored_bundle, repeats=1, callback=phases)
    assert phases.seen == [("loading", None), ("evaluating", 26)]


def test_unscored_bundle_is_scored_as_a_job_would_by_default(tmp_path: Path) -> None:
    out = made(tmp_path, evaluation={"repeats": 0, "epochs": 1})
    assert bundle.read(out).results["accuracy"] is None
    assert bundle.train_on(out)["accuracy"]["networks"] == 3


def test_another_dataset_of_that_name_is_refused(scored_bundle: Path, tmp_path: Path) -> None:
    content = bundle.read(scored_bundle)
    bundle.write(tmp_path, replace(content, dataset=replace(content.dataset, digest="cd" * 32)))
    with pytest.raises(DataError, match=r"56c2193b2975….* is not the one that was distilled \(cdcdcdcdcdcd…\)"):
        bundle.train_on(tmp_path)


def test_data_root_comes_from_the_environment_unless_given(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DD_DATA_ROOT", str(tmp_path / "from environment"))
    with pytest.raises(DataError, match="from environment/garments"):
        bundle.train_on(out)
    with pytest.raises(DataError, match="given/garments"):
        bundle.train_on(out, data_root=tmp_path / "given")
    monkeypatch.delenv("DD_DATA_ROOT")
    with pytest.raises(DataError, match="no data root"):
        bundle.train_on(out)
