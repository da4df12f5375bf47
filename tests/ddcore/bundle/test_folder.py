import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from ddcore import bundle
from ddcore.errors import DataError
from ddcore.spec import parse
from ddcore.training.stored_labels import Others, StoredLabels

FILES = ["README.md", "data/train-00000-of-00001.parquet", "distilled.safetensors", "preview.png"]


def manifest(out: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((out / "manifest.json").read_text("utf-8"))
    return document


def amend(out: Path, **changes: Any) -> None:
    (out / "manifest.json").write_text(json.dumps({**manifest(out), **changes}), "utf-8")


def test_reading_gives_back_what_was_written(tmp_path: Path, distilled: Callable[..., Any]) -> None:
    content = distilled(soft_labels=torch.full((6, 3), 1 / 3), versions={"torch": "2.x"})
    bundle.write(tmp_path, content)
    again = bundle.read(tmp_path)
    assert torch.equal(again.images, content.images)
    assert torch.equal(again.labels, content.labels)
    assert again.soft_labels is not None
    assert torch.equal(again.soft_labels, content.soft_labels)
    assert (again.spec, again.dataset) == (content.spec, content.dataset)
    assert (again.compute, again.versions) == (content.compute, content.versions)
    size = (tmp_path / "distilled.safetensors").stat().st_size
    assert again.results == {**content.results, "bytes": size, "probe": {"cmi": None}}


def test_load_gives_unclamped_pixels_and_labels(out: Path, distilled: Callable[..., Any]) -> None:
    images, labels = bundle.load(str(out))
    assert torch.equal(images, distilled().images)
    assert images.min() < -0.4
    assert images.max() > 1.4
    assert labels.tolist() == [0, 0, 1, 1, 2, 2]


def test_three_lines_of_safetensors_are_enough(out: Path, distilled: Callable[..., Any]) -> None:
    data = safetensors.torch.load_file(out / "distilled.safetensors")
    assert set(data) == {"images", "labels"}
    assert torch.equal(data["images"], distilled().images)


def test_manifest_answers_what_a_user_needs(out: Path) -> None:
    document = manifest(out)
    assert document["schema_version"] == 1
    assert document["classes"] == ["t-shirt/top", "dress: long", "été"]
    assert document["normalization"] == {"mean": [0.4] * 3, "std": [0.25] * 3, "whitened": False}
    assert document["decoder"] == {"name": "identity"}
    assert document["images"] == {"count": 6, "per_class": [2, 2, 2], "shape": [3, 6, 5], "units": "pixel"}
    assert document["dataset"] == {
        "name": "garments", "digest": "ab" * 32, "flip": True, "train_images": 600, "test_images": 60,
        "class_digests": [],
    }  # fmt: skip
    assert document["seed"] == document["spec"]["seed"] == 3
    assert document["recipe"]["augmentation"] == ["color", "crop", "cutout", "flip", "scale", "rotate"]
    assert document["recipe"]["networks"][0]["name"] == "convnet"
    assert (document["recipe"]["epochs"], document["recipe"]["lr"], document["recipe"]["labels"]) == (300, 0.01, "hard")
    assert {"ddcore", "torch", "numpy", "python"} <= set(document["versions"])
    assert document["results"]["accuracy"]["mean"] == 61.25


def test_manifest_lists_every_other_file_with_its_hash(out: Path) -> None:
    files = manifest(out)["files"]
    present = sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file())
    assert sorted([*files, "manifest.json"]) == present == sorted([*FILES, "manifest.json"])
    for name, facts in files.items():
        data = (out / name).read_bytes()
        assert facts == {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def test_equal_content_gives_equal_bytes_whatever_stands_around_the_tensors(
    tmp_path: Path, distilled: Callable[..., Any]
) -> None:
    bundle.write(tmp_path / "a", distilled())
    bundle.write(tmp_path / "b", distilled())
    bundle.write(tmp_path / "c", distilled(results={"accuracy": None}, compute={"device": "cuda"}))
    for name in [*FILES, "manifest.json"]:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name
    tensors = "distilled.safetensors"
    assert (tmp_path / "a" / tensors).read_bytes() == (tmp_path / "c" / tensors).read_bytes()
    assert manifest(tmp_path / "a") != manifest(tmp_path / "c")


def test_layout_in_memory_does_not_reach_the_file(tmp_path: Path, out: Path, distilled: Callable[..., Any]) -> None:
    bundle.write(tmp_path, distilled(images=distilled().images.to(memory_format=torch.channels_last)))
    name = "distilled.safetensors"
    assert (tmp_path / name).read_bytes() == (out / name).read_bytes()


def test_writing_again_replaces_the_bundle(out: Path, distilled: Callable[..., Any]) -> None:
    bundle.write(out, distilled(ipc=1))
    assert len(bundle.read(out).images) == 3


def test_files_are_readable_as_the_umask_allows(out: Path) -> None:
    reference = out / "reference"
    reference.touch()
    assert {(out / name).stat().st_mode for name in FILES} == {reference.stat().st_mode}


def test_unscored_results_are_kept_as_such(tmp_path: Path, distilled: Callable[..., Any]) -> None:
    bundle.write(tmp_path, distilled(results={"accuracy": None, "controls": {}}))
    results = bundle.read(tmp_path).results
    assert results == {"accuracy": None, "controls": {}, "bytes": results.bytes}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    ("spoil", "message"),
    [(Path.unlink, "is missing"), (lambda p: p.write_bytes(p.read_bytes() + b" "), "changed or damaged")],
)
def test_changed_or_missing_file_is_named(out: Path, name: str, spoil: Callable[[Path], Any], message: str) -> None:
    spoil(out / name)
    with pytest.raises(DataError, match=message) as caught:
        bundle.read(out)
    assert str(out / name) in str(caught.value)


def test_a_flipped_bit_in_the_images_is_noticed(out: Path) -> None:
    path = out / "distilled.safetensors"
    data = bytearray(path.read_bytes())
    data[-100] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"distilled\.safetensors was changed or damaged"):
        bundle.load(out)


def test_folder_that_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"is not a bundle: it holds no manifest\.json"):
        bundle.read(tmp_path)


def test_zip_file_says_how_to_unpack_it(tmp_path: Path, out: Path) -> None:
    bundle.export_zip(out, tmp_path / "bundle.zip")
    with pytest.raises(DataError, match=r"unpack it \(`python -m zipfile -e bundle\.zip out`\)"):
        bundle.read(tmp_path / "bundle.zip")


def test_newer_schema_asks_for_an_update(out: Path) -> None:
    amend(out, schema_version=2)
    with pytest.raises(DataError, match="schema version 2, newer than 1: update"):
        bundle.read(out)


def test_fields_of_later_minor_versions_are_ignored(out: Path) -> None:
    amend(out, something_new={"a": 1})
    assert len(bundle.read(out).images) == 6


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": None}, "classes: Input should be a valid tuple"),
        ({"schema_version": "one"}, "schema_version"),
        ({"files": {"../secret": {"bytes": 1, "sha256": "00"}}}, r"lists '\.\./secret', which lies outside"),
        ({"files": {"/etc/passwd": {"bytes": 1, "sha256": "00"}}}, "lists '/etc/passwd', which lies outside"),
        ({"files": {}}, r"does not list distilled\.safetensors"),
        ({"classes": ["only one"]}, "contradicts itself"),
        ({"spec": {"dataset": "garments", "ipc": 2, "method": "unheard_of"}}, "contradicts itself.*unheard_of"),
        ({"images": {"count": 6, "per_class": [2, 2, 2], "shape": [1, 6, 5]}}, "contradicts itself.*images must be"),
    ],
)
def test_damaged_manifest_is_explained(out: Path, changes: dict[str, Any], message: str) -> None:
    amend(out, **changes)
    with pytest.raises(DataError, match=message):
        bundle.read(out)


@pytest.mark.parametrize("text", ["", "{", "[]", '"text"', "\x80"])
def test_manifest_that_is_no_json_object(out: Path, text: str) -> None:
    (out / "manifest.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError, match="is not the manifest of a bundle"):
        bundle.read(out)


def test_pickle_in_place_of_the_tensors_is_never_loaded(out: Path) -> None:
    data = b"\x80\x04cos\nsystem\n(S'false'\ntR."
    (out / "distilled.safetensors").write_bytes(data)
    files = manifest(out)["files"]
    files["distilled.safetensors"] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    amend(out, files=files)
    with pytest.raises(DataError, match="is not a safetensors file"):
        bundle.read(out)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"images": torch.zeros(6, 3, 6, 5, dtype=torch.float64)}, r"images must be torch\.float32 \(6, 3, 6, 5\)"),
        ({"images": torch.full((6, 3, 6, 5), float("nan"))}, "NaN or infinite"),
        ({"labels": torch.zeros(5, dtype=torch.int64)}, r"labels must be torch\.int64 \(6,\)"),
        ({"labels": torch.tensor([0, 0, 1, 1, 2, 3])}, "labels must lie in 0 to 2"),
        ({"soft_labels": torch.zeros(6, 4)}, r"soft_labels must be torch\.float32 \(6, 3\)"),
    ],
)
def test_content_that_fits_nothing_is_refused(
    distilled: Callable[..., Any], fields: dict[str, torch.Tensor], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        distilled(**fields)


def test_training_images_are_normalised_as_the_manifest_says(out: Path) -> None:
    data = safetensors.torch.load_file(out / "distilled.safetensors")
    statistics = manifest(out)["normalization"]
    mean, std = (np.array(statistics[key]).reshape(-1, 1, 1) for key in ("mean", "std"))
    expected = (data["images"].double().numpy() - mean) / std
    np.testing.assert_allclose(bundle.read(out).training_images().numpy(), expected, rtol=1e-5, atol=1e-6)


def labelled(distilled: Callable[..., Any], labels: StoredLabels, top: int | None) -> Any:
    """The small set with labels of two epochs, for a job that asks for such."""
    evaluation = {"labels": "stored", "epochs": 2, "stored_top": top}
    spec = parse({"dataset": "garments", "ipc": 2, "method": "dm", "evaluation": evaluation})
    return distilled(spec=spec, epoch_labels=labels)


def highest(largest: int = 2, dtype: torch.dtype = torch.uint8) -> StoredLabels:
    """One of three logits of each of six images."""
    classes = torch.full((2, 6, 1), largest, dtype=dtype)
    return StoredLabels(torch.ones(2, 6, 1).half(), 7, Others(classes, torch.zeros(2, 6).half(), 3))


def test_labels_of_epochs_are_read_back_with_their_size_and_named_by_the_card(
    tmp_path: Path, distilled: Callable[..., Any]
) -> None:
    bundle.write(tmp_path, labelled(distilled, highest(), 1))
    again, size = bundle.read(tmp_path), (tmp_path / "labels.safetensors").stat().st_size
    assert again.epoch_labels is not None
    assert again.epoch_labels.of(2, 4, 2).tolist() == [[0, 0, 1]] * 2
    assert again.results["labels"] == {"epochs": 2, "top": 1, "bytes": size}
    card = (tmp_path / "README.md").read_text()
    assert f"and its labels {size} B (`labels.safetensors`, the 1 highest logits of each image)" in card


def test_labels_of_all_classes_are_read_from_older_manifests(tmp_path: Path, distilled: Callable[..., Any]) -> None:
    logits = torch.arange(36.0).view(2, 6, 3).half()
    bundle.write(tmp_path, labelled(distilled, StoredLabels(logits, 7), None))
    recipe = manifest(tmp_path)["recipe"]
    assert recipe["stored_labels"].pop("top") is None
    assert "`logits[e, i, c]` is the logit of class c" in recipe["stored_labels"].pop("reading")
    amend(tmp_path, recipe=recipe)
    again = bundle.read(tmp_path)
    assert again.epoch_labels is not None
    assert torch.equal(again.epoch_labels.of(1, 0, 6), logits[0].float())
    assert set(again.results["labels"]) == {"epochs", "bytes"}


@pytest.mark.parametrize(
    ("labels", "top", "message"),
    [
        (StoredLabels(torch.zeros(2, 6, 3).half(), 7), 1, "must be the tensors logits, classes, rest, got logits"),
        (highest(), None, "must be the tensors logits, got logits, classes, rest"),
        (
            StoredLabels(torch.zeros(1, 6, 3).half(), 7),
            None,
            r"logits of the labels of epochs must be torch.float16 \(2,",
        ),
        (highest(dtype=torch.int64), 1, r"classes of the labels of epochs must be torch.uint8 \(2, 6, 1\)"),
        (highest(3), 1, "labels of epochs must be of classes 0 to 2"),
    ],
)
def test_labels_of_epochs_that_the_job_does_not_ask_for_are_refused(
    labels: StoredLabels, top: int | None, message: str, distilled: Callable[..., Any]
) -> None:
    with pytest.raises(ValueError, match=message):
        labelled(distilled, labels, top)
