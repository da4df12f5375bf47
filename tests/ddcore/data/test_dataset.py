import hashlib
import struct
from dataclasses import replace

import pytest
import torch

from ddcore.data import dataset as dataset_module
from ddcore.data.dataset import ImageSet, channel_statistics, denormalize, describe, digest_of, normalize
from ddcore.spec.datasets import DATASETS


def image_set(n: int = 6, channels: int = 3, classes: tuple[str, ...] = ("a", "b"), seed: int = 0) -> ImageSet:
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (n, channels, 4, 5), dtype=torch.uint8, generator=generator)
    return ImageSet(pixels, torch.arange(n) % len(classes), classes)


def test_normalisation_divides_by_255_subtracts_the_mean_and_divides_by_the_deviation() -> None:
    pixels = image_set().images
    mean, std = (0.1, 0.4, 0.7), (0.2, 0.5, 1.5)
    expected = (pixels.double() / 255 - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    torch.testing.assert_close(normalize(pixels, mean, std), expected.float())
    torch.testing.assert_close(normalize(pixels.float() / 255, mean, std), expected.float())


def test_normalisation_leaves_its_input_alone_and_carries_gradients() -> None:
    pixels = torch.rand(2, 1, 3, 3, requires_grad=True)
    before = pixels.detach().clone()
    normalize(pixels, (0.5,), (0.25,)).sum().backward()
    assert torch.equal(pixels.detach(), before)
    assert pixels.grad is not None
    torch.testing.assert_close(pixels.grad, torch.full_like(before, 4.0))


def test_normalisation_to_bfloat16_rounds_only_once() -> None:
    pixels = image_set().images
    exact = normalize(pixels, (0.5,) * 3, (0.2,) * 3)
    assert torch.equal(normalize(pixels, (0.5,) * 3, (0.2,) * 3, torch.bfloat16), exact.to(torch.bfloat16))


def test_denormalisation_undoes_normalisation_and_never_clamps() -> None:
    normalised = torch.tensor([[[[-9.0, 0.0, 9.0]]]])
    pixels = denormalize(normalised, (0.5,), (0.25,))
    assert pixels.flatten().tolist() == [-1.75, 0.5, 2.75]
    torch.testing.assert_close(normalize(pixels, (0.5,), (0.25,)), normalised)


def test_statistics_are_those_of_float64_arithmetic() -> None:
    pixels = image_set(50).images
    mean, std = channel_statistics(pixels)
    reference = pixels.double().div(255).transpose(0, 1).flatten(1)
    assert mean == pytest.approx(reference.mean(dim=1).tolist(), rel=1e-12)
    assert std == pytest.approx(reference.std(dim=1, correction=0).tolist(), rel=1e-12)


def test_constant_channel_can_be_divided_by() -> None:
    mean, std = channel_statistics(torch.full((2, 1, 2, 2), 51, dtype=torch.uint8))
    assert mean == pytest.approx((0.2,))
    assert std == (1.0,)


def test_statistics_of_the_literature_win_over_computed_ones() -> None:
    dataset = describe("cifar10", image_set(), image_set(seed=1), published=True)
    assert (dataset.mean, dataset.std, dataset.flip) == ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010), True)


def test_a_set_of_unknown_name_or_shape_gets_its_own_statistics() -> None:
    train = image_set(channels=1)
    for name in ("my_photos", "cifar10"):
        dataset = describe(name, train, train)
        assert (dataset.mean, dataset.std) == channel_statistics(train.images)
    assert describe("my_photos", train, train).flip is False


def test_a_set_with_the_published_numbers_and_other_pixels_is_a_set_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """KMNIST has the shape and the counts of Fashion-MNIST; here with few images."""
    train, test = image_set(), image_set(seed=1)
    facts = replace(
        DATASETS["cifar10"],
        shape=train.shape,
        classes=train.classes,
        train_size=len(train),
        smallest_class=min(train.class_counts),
        test_size=len(test),
    )
    monkeypatch.setattr(dataset_module, "DATASETS", {"cifar10": facts})
    assert describe("cifar10", train, test).mean == channel_statistics(train.images)[0]
    mean, std = channel_statistics(train.images)
    near = replace(facts, mean=tuple(m + 0.005 for m in mean), std=tuple(s - 0.04 for s in std))
    monkeypatch.setattr(dataset_module, "DATASETS", {"cifar10": near})
    assert describe("cifar10", train, test).mean == near.mean


def test_a_set_that_only_bears_a_published_name_is_a_set_of_its_own() -> None:
    """Same shape and number of classes as CIFAR-10, other images: neither its statistics nor its mirroring hold."""
    train = image_set()
    dataset = describe("cifar10", train, image_set(seed=1))
    assert (dataset.mean, dataset.std) == channel_statistics(train.images)
    assert dataset.flip is False
    assert any("not the published one" in remark for remark in dataset.remarks)


def test_dataset_describes_its_training_split() -> None:
    dataset = describe("x", image_set(5), image_set(4, seed=1))
    assert (dataset.shape, dataset.classes, dataset.class_counts) == ((3, 4, 5), ("a", "b"), (3, 2))
    batch = dataset.normalize(dataset.train.images)
    torch.testing.assert_close(dataset.denormalize(batch) * 255, dataset.train.images.float(), atol=1e-3, rtol=0)


def test_digest_is_a_plain_hash_over_names_shapes_pixels_and_labels() -> None:
    split = ImageSet(torch.arange(8, dtype=torch.uint8).view(2, 1, 2, 2), torch.tensor([1, 0]), ("é", "b"))
    part = b"(2, 1, 2, 2)" + bytes(range(8)) + struct.pack("<qq", 1, 0)
    expected = hashlib.sha256(b"dataset 1\n" + "é\0b\0".encode() + part + part).hexdigest()
    assert digest_of(split, split) == expected


def test_digest_sees_every_part() -> None:
    train, test = image_set(), image_set(seed=1)
    known = digest_of(train, test)
    swapped = ImageSet(train.images, train.labels.flip(0), train.classes)
    renamed = ImageSet(train.images, train.labels, ("a", "c"))
    pixels = train.images.clone()
    pixels[0, 0, 0, 0] ^= 1
    reshaped = ImageSet(train.images.view(6, 3, 5, 4), train.labels, train.classes)
    others = [swapped, renamed, ImageSet(pixels, train.labels, train.classes), reshaped]
    digests = {known, digest_of(test, train), *(digest_of(other, test) for other in others)}
    assert len(digests) == 6


def test_digest_does_not_depend_on_the_layout_in_memory() -> None:
    train, test = image_set(), image_set(seed=1)
    strided = ImageSet(train.images.to(memory_format=torch.channels_last), train.labels, train.classes)
    assert digest_of(strided, test) == digest_of(train, test)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (torch.zeros(2, 1, 3, 3), torch.zeros(2, dtype=torch.int64), "images are uint8"),
        (torch.zeros(2, 3, 3, dtype=torch.uint8), torch.zeros(2, dtype=torch.int64), "images are uint8"),
        (torch.zeros(2, 1, 3, 3, dtype=torch.uint8), torch.zeros(2), "labels are int64"),
        (torch.zeros(2, 1, 3, 3, dtype=torch.uint8), torch.zeros(3, dtype=torch.int64), "labels are int64"),
        (torch.zeros(2, 1, 3, 3, dtype=torch.uint8), torch.tensor([0, 2]), "labels run from 0 to 1, got 0 to 2"),
        (torch.zeros(2, 1, 3, 3, dtype=torch.uint8), torch.tensor([-1, 0]), "got -1 to 0"),
    ],
)
def test_image_set_refuses_other_tensors(images: torch.Tensor, labels: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ImageSet(images, labels, ("a", "b"))
