"""Images of a user's own, from where people have them to a distilled set, through the real service."""

from __future__ import annotations

import json
import re
import shlex
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from PIL import Image

from ddclient import Client, Dataset, DatasetFailedError, ProblemError
from ddcore.data import library, load
from ddcore.data.ingest.intake import take_in
from ddcore.spec.ingest import IngestOptions
from tests.contract.conftest import ROOT, TINY, Live
from tests.contract.test_readme import BLOCK, photographs

pytestmark = pytest.mark.slow
QUICK: dict[str, Any] = {name: TINY[name] for name in ("method", "network", "metrics", "evaluation")}
COLOUR = np.random.default_rng(0).integers(0, 256, (60, 3, 16, 16), dtype=np.uint8)
LABELS = np.arange(60) % 3
NAMES = ["zebra", "ant", "owl"]


class Animals(torch.utils.data.Dataset[Any]):
    """As torchvision's are: tensors from 0 to 1, and names in `classes`."""

    classes = NAMES

    def __len__(self) -> int:
        return len(COLOUR)

    def __getitem__(self, place: int) -> tuple[torch.Tensor, int]:
        return torch.from_numpy(COLOUR[place]).float() / 255, int(LABELS[place])


def table() -> datasets.Dataset:
    pictures = [Image.fromarray(image.transpose(1, 2, 0)) for image in COLOUR]
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=NAMES)})
    return datasets.Dataset.from_dict({"image": pictures, "label": LABELS.tolist()}, features=features)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("own") / "photos"
    photographs(folder)
    return folder


def content(folder: Path, names: Any) -> list[tuple[str, bytes]]:
    """Class and pixels of every image of an exported set."""
    found = []
    for split in ("train", "test"):
        images, labels = (np.load(folder / f"{split}-{what}.npy") for what in ("images", "labels"))
        assert (images.dtype, labels.dtype) == (np.uint8, np.int64)
        found += [(names[label], image.tobytes()) for image, label in zip(images, labels.tolist(), strict=True)]
    return sorted(found)


def test_a_folder_of_photographs_is_distilled_by_its_path(client: Client, photos: Path, tmp_path: Path) -> None:
    job = client.distill(photos, ipc=1, ingest={"size": 16}, **QUICK)
    assert job.document.spec["dataset"] == client.datasets.get("photos").reference
    assert job.wait(timeout=120).status == "succeeded"
    images, labels = job.download(tmp_path / "out").as_torch().tensors
    assert (tuple(images.shape), labels.tolist()) == ((3, 3, 16, 16), [0, 1, 2])
    report = client.datasets.report("photos")
    local = take_in(photos, tmp_path / "shelf", name="photos", options=IngestOptions(size=16)).report
    assert report == local


@pytest.mark.parametrize(
    ("name", "given", "names"),
    [("arrays", (COLOUR, LABELS), "012"), ("animals", Animals(), NAMES), ("a-table", table(), NAMES)],
    ids=["arrays", "torch", "datasets"],
)
def test_what_is_in_memory_comes_back_as_it_was(
    client: Client, tmp_path: Path, name: str, given: Any, names: Any
) -> None:
    dataset = client.datasets.add(given, name=name, test_split=0.25)
    assert dataset.document.classes == tuple(names)
    assert (dataset.document.train_size, dataset.document.test_size) == (45, 15)
    out = dataset.export(tmp_path / "out")
    assert content(out, names) == sorted(
        (names[label], image.tobytes()) for image, label in zip(COLOUR, LABELS.tolist(), strict=True)
    )
    job = client.distill(name, ipc=1, **QUICK)
    assert job.wait(timeout=120).status == "succeeded"
    dataset.remove()
    with pytest.raises(ProblemError) as caught:
        dataset.refresh()
    assert caught.value.status == 404


def test_a_copy_of_a_built_in_set_gives_the_same_images(client: Client, tmp_path: Path) -> None:
    """Taken in under another name, sent to the service and fetched by its content, it is the same set to the engine."""
    from safetensors.torch import load_file

    built_in = load("digits")
    splits = ((split.images, split.labels) for split in (built_in.train, built_in.test))
    train, test = splits
    copy = client.datasets.add(train, test=test, name="numbers")
    made = []
    for name in ("digits", copy.reference):
        job = client.distill(name, ipc=1, **QUICK)
        job.wait()
        made.append(load_file(job.download(tmp_path / name).path / "distilled.safetensors"))
    assert copy.reference == "numbers@1"
    assert made[0].keys() == made[1].keys()
    assert all(torch.equal(made[0][key], made[1][key]) for key in made[0])


def test_a_set_that_failed_is_taken_in_with_another_size(client: Client, photos: Path) -> None:
    with pytest.raises(DatasetFailedError, match=r"pets could not be taken in: images must agree in size") as caught:
        client.datasets.add(photos, name="pets")
    with pytest.raises(ProblemError, match="pets could not be taken in"):
        client.distill("pets", ipc=1, **QUICK)
    told: list[str] = []
    dataset = client.datasets.ingest(
        caught.value.dataset_id, size=(12, 20), progress=lambda what, _done, _total: told.append(what)
    )
    assert (dataset.reference, dataset.document.shape, told[-1]) == ("pets@1", (3, 12, 20), "ready")
    again = client.datasets.add(photos, name="pets", size=8)
    assert (again.reference, again.document.shape) == ("pets@2", (3, 8, 8))
    assert client.datasets.get("pets").reference == "pets@2"
    for one in ("pets@1", "pets@2"):
        client.datasets.remove(one)
    assert list(client.datasets.list("pets")) == []


@contextmanager
def cutting(port: int, after: int, cuts: int) -> Iterator[tuple[int, list[int]]]:
    """A way to a port on which so many connections break after so many bytes; its own port, and bytes of those."""
    cut: list[int] = []

    def pump(source: socket.socket, sink: socket.socket, most: int | None) -> None:
        seen = 0
        with suppress(OSError):
            while data := source.recv(1 << 16):
                seen += len(data)
                if most is not None and seen > most and len(cut) < cuts:
                    cut.append(seen)
                    break
                sink.sendall(data)
        for side in (source, sink):
            with suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)

    def serve() -> None:
        with suppress(OSError):
            while True:
                near, _ = listener.accept()
                far = socket.create_connection(("127.0.0.1", port))
                for ends in ((near, far, after), (far, near, None)):
                    threading.Thread(target=pump, args=ends, daemon=True).start()
                opened.extend((near, far))

    opened: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=serve, daemon=True)
        server.start()
        try:
            yield listener.getsockname()[1], cut
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            server.join(timeout=60)
            for one in opened:
                one.close()


def test_an_upload_over_a_connection_that_breaks_arrives_whole(
    live: Live, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ddclient.uploads.PIECE", 1 << 20)
    pixels = np.random.default_rng(1).integers(0, 256, (1500, 3, 24, 24), dtype=np.uint8)
    labels = np.arange(1500) % 2
    port = int(live.service.url.rpartition(":")[2])
    with (
        cutting(port, 600_000, cuts=3) as (through, cut),
        Client(f"http://127.0.0.1:{through}", live.service.api_key) as far,
    ):
        dataset = far.datasets.add((pixels, labels), name="broken")
    assert len(cut) == 3
    with Client(live.service.url, live.service.api_key) as client:
        out = client.datasets.export(dataset.id, tmp_path / "out")
        assert content(out, "01") == sorted(
            (str(label), image.tobytes()) for image, label in zip(pixels, labels.tolist(), strict=True)
        )
        client.datasets.remove(dataset.id)


class Terminal:
    """``ddctl`` in a folder, as the owner of a running service uses it."""

    def __init__(self, live: Live, folder: Path) -> None:
        self.live, self.folder = live, folder

    def __call__(self, *words: str, status: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            ["ddctl", *words], cwd=self.folder, env=self.live.environment, capture_output=True, text=True, timeout=300,
            check=False,
        )  # fmt: skip
        assert done.returncode == status, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done


@pytest.fixture
def ddctl(live: Live, photos: Path) -> Terminal:
    return Terminal(live, photos.parent)


def tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.png")}


def test_ddctl_keeps_sets_in_the_service_that_runs(ddctl: Terminal, client: Client, tmp_path: Path) -> None:
    said = ddctl("datasets", "add", "./photos", "--name", "mine", "--fit", "pad", status=1).stderr
    typed = [shlex.split(line) for line in re.findall(r"^  (ddctl .*)$", said, re.M)]
    assert len(typed) == 3, said
    added = ddctl(*typed[0][1:])
    assert f"as mine@1 in the service at {client.url}" in added.stdout
    assert "next: ddctl submit mine@1" in added.stdout
    shown = ddctl("datasets", "show", "mine").stdout
    assert "480 train + 120 test" in shown
    report = json.loads(ddctl("datasets", "show", "mine@1", "--json").stdout)
    assert (report["options"]["fit"], report["dataset"]["reference"]) == ("pad", "mine@1")
    side = report["options"]["size"]

    listed = json.loads(ddctl("datasets", "list", "--json").stdout)
    assert {"mine@1", "digits"} <= {one["reference"] for one in listed}
    assert f"in the service at {client.url}" in ddctl("datasets", "list").stderr

    here = ("--data-root", str(tmp_path / "root"))
    kept = ddctl("datasets", "add", "photos", "--name", "mine", "--size", str(side), "--fit", "pad", *here).stdout
    assert f"as mine in the data root {tmp_path / 'root'}" in kept
    ddctl("datasets", "export", "mine", "--out", str(tmp_path / "far"))
    library.export("mine", tmp_path / "root", tmp_path / "near")
    assert len(tree(tmp_path / "far")) == 600
    assert tree(tmp_path / "far") == tree(tmp_path / "near")

    assert "mine" not in ddctl("datasets", "list", "--local").stdout
    assert "removed mine from the service" in ddctl("datasets", "rm", "mine").stdout
    assert "no set mine" in ddctl("datasets", "rm", "mine", status=2).stderr
    assert "--local" in ddctl("datasets", "add", "photos", "--replace", status=2).stderr


def test_ddctl_submits_a_folder(ddctl: Terminal, client: Client) -> None:
    quick = ["--ipc", "1", "--method", "random", "--set", "network.width=4", "--set", "evaluation.repeats=0",
             "--set", "metrics.probe=random", "--json"]  # fmt: skip
    said = ddctl("submit", "./photos", *quick, status=1).stdout
    refused = json.loads(said)["error"]
    assert refused["code"] == "dataset_failed"
    assert f"ddctl datasets ingest {refused['dataset_id']} --size" in refused["message"]
    client.datasets.remove(refused["dataset_id"])
    done = ddctl("submit", "./photos", "--size", "16", *quick, "--watch")
    job = json.loads(done.stdout)
    found: Dataset = client.datasets.get("photos")
    assert (job["status"], job["spec"]["dataset"]) == ("succeeded", found.reference)
    assert f"as {found.reference} in the service" in done.stderr
    assert "no folder or file" in ddctl("submit", "./phtos", "--size", "16", status=2).stderr
    assert "no path of images is given" in ddctl("submit", "digits", "--size", "16", status=2).stderr


def test_without_a_service_sets_stay_on_this_machine(live: Live, ddctl: Terminal, tmp_path: Path) -> None:
    alone = Terminal(replace(live, environment=live.environment | {"DD_HOME": str(tmp_path / "home")}), ddctl.folder)
    added = alone("datasets", "add", "photos", "--size", "16").stdout
    assert f"as photos in the data root {tmp_path / 'home' / 'data'}" in added
    assert "next: ddctl run photos --ipc 1" in added


def test_the_documentation_runs_as_printed(live: Live, photos: Path, client: Client) -> None:
    blocks = [found for found in BLOCK.finditer((ROOT / "docs/datasets.md").read_text("utf-8")) if not found["skip"]]
    assert [found["language"] for found in blocks] == ["python", "bash"]
    key = f"URL={live.service.url} AUTH='Authorization: Bearer {live.service.api_key}'"
    script = ["set -euo pipefail", key, f"python - <<'DOCS'\n{blocks[0]['text']}DOCS", blocks[1]["text"]]
    done = subprocess.run(
        ["bash", "-c", "\n".join(script)], cwd=photos.parent, env=live.environment, capture_output=True, text=True,
        timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    newest = client.datasets.get("photos").document
    assert newest.version is not None
    lines = done.stdout.splitlines()
    assert lines[0] == f"photos@{newest.version - 1} (3, 16, 16) 480"
    assert {"noise@1 ready", "digits ready", "(48, 3, 16, 16)"} <= set(lines)
    assert lines[-3:-1] == ["200", "202"]
    assert json.loads(lines[-1]) == client.datasets.report("photos").model_dump(mode="json")
    assert list(client.datasets.list("noise")) == []
