"""Sets that grow: unchanged classes keep their images, byte for byte, and only the others are distilled."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from ddcore import bundle, engine
from ddcore.data import digits, sources
from ddcore.data.dataset import Dataset, ImageSet, class_digest, restricted
from ddcore.errors import ConfigurationError, Interrupted
from ddcore.spec import JobSpec, parse
from tests.ddcore.recorder import Recorder

pytestmark = pytest.mark.usefixtures("plain_map")

Loads = Callable[[Dataset], None]
TEACHER = {"network": {"name": "convnet", "width": 4}, "epochs": 1}
OLD = (0, 1, 3, 4, 5, 7, 8, 9)
"""Digits of the set that is extended; of `3` it has fewer images than the whole."""


def job(**fields: Any) -> JobSpec:
    return parse(
        {
            "dataset": "digits",
            "ipc": 2,
            "method": {"name": "dm", "iterations": 4, "batch_real": 8},
            "network": {"name": "convnet", "width": 8},
            "metrics": {"every": 2, "probe": "random"},
            "snapshots": {"every": 2},
            "evaluation": {"repeats": 1, "epochs": 2},
        }
        | fields
    )


def without(dataset: Dataset, label: int, images: int) -> Dataset:
    """A dataset that lacks the first training images of a class."""
    train = dataset.train
    kept = torch.ones(len(train), dtype=torch.bool)
    kept[(train.labels == label).nonzero().flatten()[:images]] = False
    fewer = ImageSet(train.images[kept], train.labels[kept], train.classes)
    return replace(dataset, train=fewer, digest=f"without {images} of {label}")


@pytest.fixture(scope="module")
def now() -> Dataset:
    return digits.read()


@pytest.fixture(scope="module")
def before(now: Dataset) -> Dataset:
    return replace(without(restricted(now, OLD), OLD.index(3), 90), mean=(0.25,), std=(0.5,))


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> Loads:
    """Have the engine find a dataset whatever a job calls it."""
    return lambda dataset: monkeypatch.setattr(sources, "load", lambda *_: dataset)


@pytest.fixture(scope="module", params=["dm", "mosaic", "herding", "rded"])
def grown(request: pytest.FixtureRequest, now: Dataset, before: Dataset, tmp_path_factory: Any, cache: Path) -> Path:
    """Folder with the bundle of a set in ``a``, and that of a larger one that extends it in ``b``."""
    of: dict[str, dict[str, Any]] = {
        "dm": {},
        "mosaic": {"decoder": "mosaic"},
        "herding": {"method": {"name": "herding", "teacher": {"epochs": 1, "pool": 1}}},
        "rded": {
            "method": {"name": "rded", "teacher": TEACHER, "candidates": 20, "crops": 2},
            "evaluation": {"repeats": 1, "epochs": 2, "labels": "online", "teacher": TEACHER},
        },
    }
    folder: Path = tmp_path_factory.mktemp("grown")
    spec = job(**of[request.param])
    with pytest.MonkeyPatch.context() as patch:
        for name, dataset, parent in (("a", before, None), ("b", now, folder / "a")):
            patch.setattr(sources, "load", lambda *_, found=dataset: found)
            engine.run(spec, folder / name, run_dir=folder / f"{name}.run", parent=parent, cache=cache)
    return folder


def test_unchanged_classes_keep_every_byte(grown: Path) -> None:
    old, new = bundle.read(grown / "a"), bundle.read(grown / "b")
    assert new.labels.tolist() == [label for label in range(10) for _ in range(len(new.images) // 10)]
    for label, name in enumerate(new.dataset.classes):
        mine = new.images[new.labels == label]
        if name in "26":
            assert name not in old.dataset.classes
            continue
        theirs = old.images[old.labels == OLD.index(label)]
        assert torch.equal(mine, theirs) == (name != "3")
        if old.stored is not None and new.stored is not None:
            kept = torch.equal(new.stored[2 * label : 2 * label + 2], old.stored[2 * OLD.index(label) :][:2])
            assert kept == (name != "3")
    assert (new.dataset.mean, new.dataset.std) == ((0.25,), (0.5,))


def test_png_exports_of_unchanged_classes_are_the_same_files(grown: Path, tmp_path: Path) -> None:
    def pictures(name: str) -> dict[str, list[bytes]]:
        bundle.export_imagefolder(grown / name, tmp_path / f"{name}.zip")
        found: dict[str, list[bytes]] = {}
        with zipfile.ZipFile(io.BytesIO((tmp_path / f"{name}.zip").read_bytes())) as archive:
            for file in archive.namelist():
                found.setdefault(file.partition("/")[0].partition("_")[2], []).append(archive.read(file))
        return found

    old, new = pictures("a"), pictures("b")
    assert {name for name in new if old.get(name) == new[name]} == set("0145789")


def test_the_manifest_tells_where_the_classes_come_from(grown: Path) -> None:
    manifest = json.loads((grown / "b" / "manifest.json").read_text())
    parent = (grown / "a" / "manifest.json").read_bytes()
    lineage = manifest["results"]["lineage"]
    assert lineage["bundle"] == hashlib.sha256(parent).hexdigest()
    assert (lineage["kept"], lineage["changed"], lineage["new"]) == (list("0145789"), ["3"], ["2", "6"])
    assert lineage["accuracy"] == json.loads(parent)["results"]["accuracy"]
    assert (lineage["same_evaluation"], lineage["job"]) == (True, None)
    assert manifest["results"]["accuracy"]["networks"] == 1
    assert "lineage" not in json.loads(parent)["results"]
    assert len(manifest["dataset"]["class_digests"]) == 10
    assert "7 of its 10 classes" in (grown / "b" / "README.md").read_text()


@pytest.mark.parametrize("case", ["changed", "new"])
def test_a_single_class_is_made(now: Dataset, loads: Loads, tmp_path: Path, cache: Path, case: str) -> None:
    loads(without(now, 3, 90) if case == "changed" else restricted(now, range(9)))
    engine.run(job(), tmp_path / "a", run_dir=tmp_path / "a.run", cache=cache)
    loads(now)
    engine.run(job(), tmp_path / "b", run_dir=tmp_path / "b.run", parent=tmp_path / "a", cache=cache)
    old, new = bundle.read(tmp_path / "a"), bundle.read(tmp_path / "b")
    kept = [torch.equal(images, new.images[2 * n : 2 * n + 2]) for n, images in enumerate(old.images.split(2))]
    assert kept == [case == "new" or label != 3 for label in range(len(kept))]
    assert len(new.images) == 20


def test_an_interrupted_run_ends_with_the_same_bytes(
    now: Dataset, before: Dataset, loads: Loads, tmp_path: Path, cache: Path
) -> None:
    loads(before)
    engine.run(job(), tmp_path / "a", run_dir=tmp_path / "a.run", cache=cache)
    loads(now)
    whole = Recorder()
    engine.run(job(), tmp_path / "b", run_dir=tmp_path / "b.run", parent=tmp_path / "a", cache=cache, callback=whole)
    again = partial(engine.run, job(), tmp_path / "c", run_dir=tmp_path / "c.run", parent=tmp_path / "a", cache=cache)
    with pytest.raises(Interrupted):
        again(callback=Recorder(stop_after=1))
    rest = Recorder()
    again(callback=rest)
    assert rest.resumed == [(1, True)]
    assert rest.metrics[4] == whole.metrics[4]
    assert rest.snapshots[4] == whole.snapshots[4]
    for name in ("distilled.safetensors", "preview.png"):
        assert (tmp_path / "b" / name).read_bytes() == (tmp_path / "c" / name).read_bytes()
    assert "the images of 7 of 10 classes are kept, and 3 are distilled: '2', '3', '6'" in whole.logs


@pytest.fixture(scope="module")
def old(before: Dataset, tmp_path_factory: Any) -> Path:
    """A bundle to extend, unscored."""
    folder: Path = tmp_path_factory.mktemp("old")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "load", lambda *_: before)
        engine.run(job(evaluation={"repeats": 0}), folder / "a", run_dir=folder / "a.run")
    return folder / "a"


def refused(spec: JobSpec, parent: Path | None, folder: Path) -> str:
    with pytest.raises(ConfigurationError) as caught:
        engine.run(spec, folder / "b", run_dir=folder / "b.run", parent=parent)
    assert not (folder / "b").exists()
    return str(caught.value)


def test_the_same_images_in_another_order_leave_nothing_to_do(
    before: Dataset, old: Path, loads: Loads, tmp_path: Path
) -> None:
    order = torch.randperm(len(before.train), generator=torch.Generator().manual_seed(0))
    train = ImageSet(before.train.images[order], before.train.labels[order], before.train.classes)
    loads(replace(before, train=train, digest="in another order"))
    assert "there is nothing to do" in refused(job(), old, tmp_path)


def test_a_lost_class_is_refused(now: Dataset, old: Path, loads: Loads, tmp_path: Path) -> None:
    loads(restricted(now, range(8)))
    assert "has classes that `dataset` has not: '8', '9'; add" in refused(job(), old, tmp_path)


def test_images_of_another_size_are_refused(now: Dataset, old: Path, loads: Loads, tmp_path: Path) -> None:
    small = [ImageSet(s.images[:, :, :4], s.labels, s.classes) for s in (now.train, now.test)]
    loads(replace(now, train=small[0], test=small[1]))
    assert "have 8 x 4 pixels in 1 channels, those of the job that is extended 8 x 8" in refused(job(), old, tmp_path)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"ipc": 3}, "`ipc` is 3, but 2 in the job that is extended"),
        ({"method": "random"}, "`method` is 'random', but 'dm'"),
        ({"decoder": "mosaic"}, "`decoder` is"),
        ({"method": {"name": "dc", "iterations": 4}, "init": "real"}, "the method `dc` lets the classes of a set"),
        ({"regularizers": {"cmi": 1.0}}, "the regulariser `cmi` lets the classes"),
        ({"network": {"name": "convnet", "width": 8, "norm": "batch"}}, "the `batch` normalisation of `convnet`"),
        ({"whitening": True}, "`whitening` is fitted to the images of all classes"),
        ({"evaluation": {"labels": "soft"}}, "soft labels of the kept images"),
        ({"evaluation": {"during": {}}}, "scores on the way"),
    ],
)
def test_what_would_mix_old_and_new_classes_is_refused(
    now: Dataset, old: Path, loads: Loads, tmp_path: Path, fields: dict[str, Any], said: str
) -> None:
    loads(now)
    assert said in refused(job(**fields), old, tmp_path)


def test_a_bundle_of_an_earlier_version_is_refused(now: Dataset, old: Path, loads: Loads, tmp_path: Path) -> None:
    loads(now)
    for file in old.rglob("*"):
        if file.is_file():
            target = tmp_path / "a" / file.relative_to(old)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.read_bytes())
    manifest = json.loads((tmp_path / "a" / "manifest.json").read_text())
    del manifest["dataset"]["class_digests"]
    (tmp_path / "a" / "manifest.json").write_text(json.dumps(manifest))
    assert "an earlier version wrote it; clone that job" in refused(job(), tmp_path / "a", tmp_path)


def test_a_job_of_a_service_needs_its_bundle(now: Dataset, loads: Loads, tmp_path: Path) -> None:
    loads(now)
    message = refused(job(extends="job_01m7wfazz0fpcr59g52gcd7d4a"), None, tmp_path)
    assert "fetch it (`ddctl get job_01m7wfazz0fpcr59g52gcd7d4a -o DIR`)" in message


def test_a_digest_of_a_class_follows_its_pixels_alone() -> None:
    images = torch.arange(24, dtype=torch.uint8).view(6, 1, 2, 2)
    some = torch.tensor([True, True, False, False, True, False])
    order = torch.tensor([4, 2, 0, 1, 3, 5])
    assert class_digest(images, some) == class_digest(images[order], some[order])
    changed = images.clone()
    changed[0, 0, 0, 0] = 99
    assert class_digest(changed, some) != class_digest(images, some)
    assert class_digest(images.view(6, 1, 4, 1), some) != class_digest(images, some)
    twice, once = torch.tensor([0, 1, 1]), torch.tensor([0, 1])
    assert class_digest(images[twice], some[:3] | True) != class_digest(images[once], some[:2])
