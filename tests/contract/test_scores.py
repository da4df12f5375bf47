"""Sets that others made, from their files to the leaderboard, through the real service."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import ddcore
from ddclient import AsyncClient, Client, Score, ScoreFailedError
from ddclient.errors import Exit
from ddcore.data import load
from ddcore.spec.results import Results
from tests.contract.conftest import Ddctl, Live

RECIPE: dict[str, Any] = {
    "network": {"name": "convnet", "depth": 1, "width": 4},
    "evaluation": {"repeats": 2, "epochs": 2, "batch_size": 32, "scores": ["augmentation_robust"]},
    "augmentation": "crop",
    "compile": "off",
}
REAL = load("digits")
ROWS = [int((REAL.train.labels == label).nonzero()[0]) for label in range(10)]
IMAGES = REAL.train.images[ROWS]
LABELS = torch.arange(10)
UNIT = IMAGES.float() / 255


def of_dc(folder: Path) -> Path:
    """As DC, DSA and DM publish: every finished set, of which the last counts."""
    torch.save({"data": [[1 - UNIT, LABELS], [UNIT, LABELS]], "accs_all_exps": {}}, folder / "res_DM.pt")
    return folder / "res_DM.pt"


def of_mtt(folder: Path) -> Path:
    """As MTT and DATM: images, and their labels in a file beside them."""
    torch.save(UNIT, folder / "images_best.pt")
    torch.save(LABELS, folder / "labels_best.pt")
    return folder / "images_best.pt"


def of_numpy(folder: Path) -> Path:
    np.savez(folder / "set.npz", images=IMAGES.numpy(), labels=LABELS.numpy())
    return folder / "set.npz"


def of_safetensors(folder: Path) -> Path:
    save_file({"images": UNIT, "labels": LABELS}, folder / "set.safetensors")
    return folder / "set.safetensors"


def of_pictures(folder: Path) -> Path:
    for label, image in enumerate(IMAGES.numpy()):
        (folder / "pngs" / str(label)).mkdir(parents=True)
        Image.fromarray(image[0]).save(folder / "pngs" / str(label) / "0.png")
    return folder / "pngs"


def of_parquet(folder: Path) -> Path:
    encoded = [{"bytes": path.read_bytes()} for path in sorted((of_pictures(folder)).rglob("*.png"))]
    pq.write_table(pa.table({"image": encoded, "label": LABELS.tolist()}), folder / "set.parquet")
    return folder / "set.parquet"


LAYOUTS: Mapping[str, Callable[[Path], Path]] = {
    "dc": of_dc, "mtt": of_mtt, "pictures": of_pictures, "parquet": of_parquet,
}  # fmt: skip
"""What the client sends; the asynchronous one and ``ddctl`` send the others."""


@pytest.fixture(scope="module")
def sent(live: Live, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Score]:
    """The same images in every layout, sent one after the other and not waited for."""
    with Client(live.service.url, live.service.api_key) as client:
        return {
            name: client.score(make(tmp_path_factory.mktemp(name)), "digits", RECIPE, name=name, ipc=1, wait=False)
            for name, make in LAYOUTS.items()
        }


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> tuple[float, ...]:
    """What the same images come to without a service."""
    results: Results = ddcore.score(of_numpy(tmp_path_factory.mktemp("here")), "digits", RECIPE).results
    assert results.accuracy is not None
    return results.accuracy.values


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_comes_to_what_this_machine_finds(
    layout: str, client: Client, sent: Mapping[str, Score], here: tuple[float, ...]
) -> None:
    score = client.scores.get(sent[layout].id).wait(120)
    results = score.results
    assert results.accuracy is not None
    assert results.accuracy.values == here
    assert here[0] != here[1] or here[0] > 10
    assert (score.document.ipc, score.document.name) == (1, layout)
    assert 0 < results.scores["augmentation_robust"].score < 100
    assert results.bytes is not None
    assert results.origin is not None
    assert results.origin.sha256 == score.document.sha256


def test_they_are_ranked_under_one_recipe(client: Client, sent: Mapping[str, Score]) -> None:
    for score in sent.values():
        client.scores.get(score.id).wait(120)
    board, *others = (
        board
        for board in client.scores.leaderboard("digits", 1).boards
        if any(entry.kind == "score" for entry in board.entries)
    )
    assert others == []
    assert {score.id for score in sent.values()} <= {entry.id for entry in board.entries}
    assert [entry.rank for entry in board.entries] == list(range(1, len(board.entries) + 1))


def test_the_asynchronous_client_does_the_same(live: Live, tmp_path: Path, here: tuple[float, ...]) -> None:
    async def scored() -> tuple[float, ...]:
        async with AsyncClient(live.service.url, live.service.api_key) as client:
            score = await client.score(of_safetensors(tmp_path), "digits", RECIPE)
            assert score.id in [one.id async for one in client.scores.list("digits")]
            boards = (await client.scores.leaderboard("digits", 1)).boards
            assert any(entry.id == score.id for board in boards for entry in board.entries)
            accuracy = (await (await client.scores.get(score.id)).refresh()).results.accuracy
            await score.delete()
            assert score.id not in [one.id async for one in client.scores.list()]
            return () if accuracy is None else accuracy.values

    assert asyncio.run(scored()) == here


def test_a_file_that_says_too_little_is_named_with_the_way_out(client: Client, tmp_path: Path) -> None:
    torch.save(torch.cat([UNIT[:5], -UNIT[5:]]), tmp_path / "set.pt")
    with pytest.raises(ScoreFailedError, match=r"does not tell the units.*--values unit") as caught:
        client.score(tmp_path / "set.pt", "digits", RECIPE)
    assert caught.value.status == "failed"
    client.scores.delete(caught.value.score_id)


def test_ddctl_scores_lists_ranks_and_deletes(
    ddctl: Ddctl, sent: Mapping[str, Score], here: tuple[float, ...], tmp_path: Path
) -> None:
    settings = [f"--set={name}={json.dumps(value)}" for name, value in RECIPE.items()]
    file = str(of_numpy(tmp_path))
    waiting = json.loads(ddctl("score", file, "--dataset", "digits", "--detach", "--json"))["id"]
    assert waiting in ddctl("scores", "list", "--dataset", "digits")
    ddctl("scores", "cancel", waiting)
    assert "deleted" in ddctl("scores", "delete", waiting)
    assert "you have no score" in ddctl("scores", "show", waiting, status=Exit.REFUSED)

    made = json.loads(ddctl("score", file, "--dataset", "digits", "--name", "by hand", *settings, "--json"))
    assert made["status"] == "succeeded"
    assert tuple(made["results"]["accuracy"]["values"]) == here
    assert "augmentation-robust score" in ddctl("scores", "show", made["id"])
    ranked = ddctl("leaderboard", "digits", "--ipc", "1")
    assert "accuracies of two recipes do not compare" in ranked
    assert all(score.id in ranked for score in sent.values())
    assert f"by hand ({Path(file).name})" in ranked
    assert "nothing is scored so" in ddctl("leaderboard", "cifar100")
