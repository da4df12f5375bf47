"""RDED keeps the crops that its teacher is surest of, tile by tile."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from ddcore.methods import build_producer
from ddcore.methods.rded import RDED, centred
from ddcore.methods.shared.crops import random_crops
from ddcore.nets import build
from ddcore.runtime.context import Run
from ddcore.spec import SpecError, parse

TEACHER = {"network": {"name": "convnet", "width": 4}, "epochs": 1}
METHOD = {"name": "rded", "teacher": TEACHER, "candidates": 10, "crops": 3}


def ready(make_run: Callable[..., Run], **fields: Any) -> tuple[RDED, Run]:
    run = make_run(method=METHOD, **fields)
    method = build_producer(run.spec.method, run)
    assert isinstance(method, RDED)
    method.prepare()
    return method, run


def test_crops_are_boxes_of_the_image_resized() -> None:
    """Of a plane that rises by one a row and a hundred a column, a crop has the slope that its size says."""
    rows, columns = torch.arange(32.0).view(-1, 1), torch.arange(24.0).view(1, -1)
    plane = (rows + 100 * columns).expand(200, 1, 32, 24)
    crops = random_crops(plane, (16, 12), 0.25, Generator().manual_seed(0))
    assert crops.shape == (200, 1, 16, 12)
    middle = crops[:, 0, 4:-4, 3:-3]
    down, right = middle.diff(dim=1), middle.diff(dim=2) / 100
    # On average: a low-pass filter of finite width bends a slope a little where pixels do not fall on pixels.
    tall, wide = down.mean(dim=(1, 2)) * 16 / 32, right.mean(dim=(1, 2)) * 12 / 24
    assert torch.allclose(tall, wide, atol=0.06), "the proportions of the image"
    share = tall * wide
    assert 0.24 < float(share.min()) < 0.32, "the least area"
    assert 0.93 < float(share.max()) <= 1.001, "the largest area"
    assert float(share.mean()) == pytest.approx(0.625, abs=0.05), "the area is uniform"
    assert float(crops.min()) >= 0
    assert float(crops.max()) <= 31 + 100 * 23
    corner = middle.mean(dim=(1, 2)) // 100
    assert len(corner.unique()) > 5, "crops lie at many places"


def test_an_image_as_small_as_its_crop_is_kept_whole(fill: Callable[..., Tensor]) -> None:
    images = fill(4, 3, 8, 8)
    torch.testing.assert_close(random_crops(images, (8, 8), 1.0, Generator().manual_seed(0)), images)


def test_a_crop_is_seen_in_the_middle_of_zeros() -> None:
    seen = centred(torch.ones(2, 3, 4, 3), 9, 8)
    assert seen.shape == (2, 3, 9, 8)
    assert seen.sum() == 2 * 3 * 4 * 3
    assert bool((seen[:, :, 2:6, 2:5] == 1).all())


@pytest.mark.parametrize("decoder", ["mosaic", "identity"])
def test_tiles_are_the_surest_crops_of_as_many_images(make_run: Callable[..., Run], decoder: str) -> None:
    method, run = ready(make_run, decoder=decoder)
    tiles, side = (4, 4) if decoder == "mosaic" else (1, 8)
    network = build(method.config.teacher.network, run.dataset.shape, 3).eval()
    network.load_state_dict(method._teacher._params)
    pools, crops = run.random.host_stream("method/candidates"), run.random.host_stream("method/crops")
    expected = []
    for label in range(3):
        rows = (run.dataset.train.labels == label).nonzero().flatten()
        images = run.real_images(rows[torch.randperm(len(rows), generator=pools)[:10]])
        best: list[tuple[float, Tensor]] = [(float("inf"), images[0])] * 10
        for _ in range(3):
            for number, crop in enumerate(random_crops(images, (side, side), 0.08, crops)):
                edge = (8 - side) // 2
                with torch.no_grad():
                    logits = network(F.pad(crop, (edge,) * 4)[None])
                loss = -float(torch.log_softmax(logits, dim=1)[0, label])
                best[number] = min(best[number], (loss, crop), key=lambda found: found[0])
        expected.append(torch.stack([crop for _, crop in sorted(best, key=lambda found: found[0])[: 2 * tiles]]))
    run.random.load_state({})
    synthetic = method.start()
    for stored, found in zip(synthetic.stored.detach().view(3, 2, 3, 8, 8), expected, strict=True):
        for tile in range(tiles):
            top, left = side * (tile // 2), side * (tile % 2)
            shown = stored[:, :, top : top + side, left : left + side]
            torch.testing.assert_close(shown, found[2 * tile : 2 * tile + 2], rtol=1e-5, atol=1e-5)
    assert len(synthetic) == 3 * 2 * tiles


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"init": "noise"}, r"/init: `rded` keeps real images, but `init` is 'noise'; use 'real'"),
        (
            {"ipc": 3},
            r"/method/candidates: `candidates` is 10 .* take 12; choose at least 12, or an `ipc` of at most 2",
        ),
        ({"whitening": True}, r"/whitening: `rded` puts images together of pixels, which `whitening` mixes; use false"),
        ({"decoder": "addressed"}, r"/decoder: .*use 'mosaic' or 'identity'"),
        ({"regularizers": {"mim": 1}}, r"/regularizers/0: `rded` takes no steps, so `mim` could not act; drop it"),
        ({"regularizers": {"cmi": 1}}, r"/regularizers/0: `rded` takes no steps, so `cmi` could not act; drop it"),
    ],
)
def test_what_cannot_work_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        parse({"dataset": "blobs", "ipc": 2, "method": METHOD, **fields})
