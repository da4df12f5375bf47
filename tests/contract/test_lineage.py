"""Jobs that go on from others, through the real service: by more steps, and by more classes."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ddclient import Client, Job, ProblemError, cli
from ddcore.data import digits
from tests.contract.conftest import TINY, Live

pytestmark = pytest.mark.slow


def write(folder: Path, label: int, first: int, count: int) -> None:
    """Some digits of a class as PNG files, train and test."""
    found = digits.read()
    for split, images in (("train", found.train), ("test", found.test)):
        rows = (images.labels == label).nonzero().flatten()[first : first + count]
        (folder / split / str(label)).mkdir(parents=True, exist_ok=True)
        for row in rows.tolist():
            Image.fromarray(images.images[row, 0].numpy()).save(folder / split / str(label) / f"{row}.png")


def arrays(job: Job, out: Path) -> dict[str, Any]:
    job.download(out)
    with np.load(job.client.export(job.id, out / "npz", "npz")) as found:
        return dict(found)


def digest(job: Job, out: Path) -> str:
    path = job.download(out).path / "distilled.safetensors"
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_more_steps_make_the_images_of_one_job(client: Client, tmp_path: Path) -> None:
    job = client.submit(TINY)
    whole = client.submit(TINY | {"method": {**TINY["method"], "iterations": 27}})
    more = job.wait(120).extend(7)
    assert more.document.spec == whole.document.spec
    client.delete(job.id)
    assert digest(more.wait(120), tmp_path / "more") == digest(whole.wait(120), tmp_path / "whole")
    assert "goes on after step 20" in [event.message for event in more.events()]
    assert next(iter(more.metrics(["loss"])["loss"])).step_min == 21


def test_a_set_grows(
    client: Client, live: Live, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "growing"
    for label in (1, 3, 7):
        write(folder, label, 0, 12)
    client.datasets.add(folder, name="growing")
    body = TINY | {"dataset": "growing", "ipc": 2, "evaluation": {"repeats": 1, "epochs": 2}}
    parent = client.submit(body).wait(120)
    with pytest.raises(ProblemError, match="there is nothing to do"):
        client.submit(body, extends=parent)

    write(folder, 5, 0, 12)
    write(folder, 7, 12, 3)
    client.datasets.add(folder, name="growing")
    child = client.submit(body, extends=parent).wait(120)
    assert (child.document.parent_id, child.document.spec["dataset"]) == (parent.id, "growing@2")
    assert child.results is not None
    lineage = child.results.lineage
    assert lineage is not None
    assert (lineage.job, lineage.kept, lineage.changed, lineage.new) == (parent.id, ("1", "3"), ("7",), ("5",))
    assert parent.results is not None
    assert lineage.accuracy == parent.results.accuracy

    before, now = arrays(parent, tmp_path / "before"), arrays(child, tmp_path / "now")
    assert now["classes"].tolist() == ["1", "3", "5", "7"]
    of = {name: now["images"][now["labels"] == label] for label, name in enumerate(now["classes"])}
    for label, name in enumerate(before["classes"]):
        same = before["images"][before["labels"] == label].tobytes() == of[name].tobytes()
        assert same == (name != "7")
    manifest = (tmp_path / "before" / "manifest.json").read_bytes()
    assert lineage.bundle == hashlib.sha256(manifest).hexdigest()
    assert json.loads(manifest)["results"].get("lineage") is None

    monkeypatch.setenv("DD_HOME", str(live.service.home))
    assert cli.invoke(["get", child.id]) == 0
    assert f"extends   {parent.id}: 2 classes kept, 1 changed, 1 new; it reached" in capsys.readouterr().out
