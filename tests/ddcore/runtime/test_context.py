"""What a run starts from, and in which units it learns."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from sklearn.cluster import KMeans
from torch import Tensor

from ddcore.nets import build
from ddcore.runtime.context import Run

Make = Callable[..., Run]


@pytest.mark.parametrize(("decoder", "tiles"), [("identity", 1), ("mosaic", 4)])
def test_a_clustered_start_holds_the_images_nearest_to_the_centroids(make_run: Make, decoder: str, tiles: int) -> None:
    run = make_run(init="k_means", decoder=decoder, ipc=2)
    start = run.starting_images()
    other = make_run(init="k_means", decoder=decoder, ipc=2)
    network = build(run.spec.network, run.dataset.shape, 3)
    network.load_state_dict(other.functional.new(other.random.stream("init/network")))
    train, generator, chosen = run.dataset.train, other.random.host_stream("init"), list[int]()
    for label in range(3):
        rows = (train.labels == label).nonzero().flatten()
        with torch.no_grad():
            features = network.features(run.dataset.normalize(train.images[rows])).double()
        seed = int(torch.randint(2**31, (), generator=generator))
        library = KMeans(2 * tiles, n_init="auto", random_state=seed).fit(features.numpy())
        for centroid in torch.from_numpy(library.cluster_centers_):
            left = [n for n in range(len(rows)) if int(rows[n]) not in chosen]
            chosen.append(int(rows[min(left, key=lambda n: float((features[n] - centroid).norm()))]))
    images = run.dataset.normalize(train.images[chosen])
    torch.testing.assert_close(start, run.decoder().encode(images, 2))
    assert start.shape == (6, *run.dataset.shape)


def test_a_level_is_a_pixel_value_in_normalised_units(make_run: Make) -> None:
    run = make_run()
    for value in (0.0, 0.5, 1.0):
        level = run.level(value)
        assert level.shape == (3, 1, 1)
        torch.testing.assert_close(run.dataset.denormalize(level.unsqueeze(0)), torch.full((1, 3, 1, 1), value))


def test_tiles_beyond_the_border_are_mid_grey(make_run: Make) -> None:
    run = make_run(decoder={"name": "mosaic", "factor": 3})
    stored = run.level(0.25).expand(6, 3, 8, 8)
    pixels = run.dataset.denormalize(run.decoder().decode(stored, 2))
    assert pixels.min().item() == pytest.approx(0.25, abs=1e-6)
    assert pixels.max().item() == pytest.approx(0.5, abs=1e-6)


@pytest.mark.parametrize("class_steps", [False, True])
def test_learning_in_pixel_units_is_sgd_on_pixels(make_run: Make, class_steps: bool) -> None:
    run = make_run()
    learned = run.synthetic_set(0.02, 0.5, class_steps=class_steps, pixel_units=True)
    pixels = run.dataset.denormalize(learned.stored.detach()).requires_grad_()
    sgd = torch.optim.SGD([pixels], lr=0.02, momentum=0.5)

    def loss(images: Tensor) -> Tensor:
        return (images + 0.3).square().sum()

    for _ in range(3):
        learned.begin_step()
        learned.clear_gradient()
        loss(learned.images).backward()
        learned.step()
        for turn in range(3) if class_steps else (slice(None),):
            sgd.zero_grad(set_to_none=False)
            part = slice(2 * turn, 2 * turn + 2) if isinstance(turn, int) else turn
            loss(run.dataset.normalize(pixels)[part]).backward()
            sgd.step()
    torch.testing.assert_close(run.dataset.denormalize(learned.stored.detach()), pixels.detach(), rtol=1e-4, atol=1e-5)
