"""The synthetic set and its optimiser, against the framework's own SGD."""

from __future__ import annotations

import pytest
import torch

from ddcore.errors import DivergedError
from ddcore.synthetic.decoders import Addressed
from ddcore.synthetic.parameter import Learned
from ddcore.synthetic.set import SyntheticSet


def test_steps_equal_the_frameworks_sgd_with_momentum() -> None:
    start = torch.randn(6, 2, 3, 3, generator=torch.Generator().manual_seed(0))
    synthetic = SyntheticSet(start, ipc=3, lr=0.7, momentum=0.5)
    reference = start.clone().requires_grad_()
    sgd = torch.optim.SGD([reference], lr=0.7, momentum=0.5)
    for k in range(5):
        for images in (synthetic.images, reference):
            images.grad = None
            (images.pow(2).sum() * (k + 1)).backward()
        synthetic.step()
        sgd.step()
    assert torch.allclose(synthetic.images, reference, rtol=0, atol=1e-6)


def test_joint_steps_of_the_momentum_check() -> None:
    """By hand: loss x^2 / 2, x = (1, 2, 3), lr 0.1, momentum 0.5, two joint steps."""
    synthetic = SyntheticSet(torch.tensor([1.0, 2.0, 3.0]).view(3, 1, 1, 1), ipc=1, lr=0.1, momentum=0.5)
    for _ in range(2):
        synthetic.clear_gradient()
        (synthetic.images.square().sum() / 2).backward()
        synthetic.step()
    assert synthetic.images.flatten().tolist() == pytest.approx([0.76, 1.52, 2.28], rel=1e-6)


def test_labels_are_class_major_and_the_start_is_copied() -> None:
    start = torch.zeros(6, 1, 2, 2)
    synthetic = SyntheticSet(start, ipc=2, lr=1, momentum=0)
    assert synthetic.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert (synthetic.classes, len(synthetic)) == (3, 6)
    synthetic.images.sum().backward()
    synthetic.step()
    assert start.abs().sum() == 0


def test_images_that_are_not_finite_are_refused_by_class() -> None:
    synthetic = SyntheticSet(torch.zeros(4, 1, 2, 2), ipc=2, lr=1, momentum=0)
    synthetic.gradient[2, 0, 0, 0] = float("nan")
    synthetic.step()
    with pytest.raises(DivergedError, match=r"step 7 \(class 1\)"):
        synthetic.check_finite(7)


def test_a_sum_that_overflows_is_not_mistaken_for_divergence() -> None:
    synthetic = SyntheticSet(torch.full((4, 1, 2, 2), 3e38), ipc=2, lr=1, momentum=0)
    synthetic.check_finite(1)


@pytest.mark.parametrize(
    ("images", "expected"), [(1, [1] * 10), (3, [1] * 10), (12, [4, 4, 2]), (29, [5, 5]), (30, [10]), (500, [10])]
)
def test_groups_of_classes_are_few_even_and_cover_all(images: int, expected: list[int]) -> None:
    synthetic = SyntheticSet(torch.zeros(30, 1, 2, 2), ipc=3, lr=1, momentum=0)
    groups = list(synthetic.class_groups(images))
    assert [len(group) for group in groups] == expected
    assert [c for group in groups for c in group] == list(range(10))
    assert torch.cat([synthetic.labels_of(group) for group in groups]).equal(synthetic.labels)


def test_images_that_are_not_whole_classes_are_refused() -> None:
    with pytest.raises(ValueError, match="whole classes of 2"):
        SyntheticSet(torch.zeros(3, 1, 2, 2), ipc=2, lr=1, momentum=0)


def test_a_gradient_beyond_its_limit_is_cut_with_all_that_is_learned() -> None:
    rate = Learned(torch.tensor(0.5), lr=0.1, momentum=0.0)
    synthetic = SyntheticSet(torch.zeros(2, 1, 1, 1), ipc=1, lr=1.0, momentum=0.0, others={"lr": rate}, max_norm=3.0)
    synthetic.begin_step()
    synthetic.gradient.fill_(4.0)
    rate.gradient.fill_(2.0)
    synthetic.step()
    assert synthetic.stored.flatten().tolist() == pytest.approx([-2.0, -2.0], rel=1e-5)
    assert synthetic.learning_rate == pytest.approx(0.5 - 0.1, rel=1e-5)


def test_soft_labels_are_trained_with_and_saved() -> None:
    synthetic = SyntheticSet(torch.zeros(2, 1, 1, 1), ipc=1, lr=1.0, momentum=0.0)
    assert synthetic.learning_rate is None
    assert synthetic.training_labels is synthetic.labels
    assert "soft_labels" not in synthetic.state()
    synthetic.soft_labels = torch.tensor([[0.7, 0.3], [0.1, 0.9]])
    saved = {name: tensor.clone() for name, tensor in synthetic.state().items()}
    synthetic.soft_labels = torch.eye(2)
    synthetic.load_state(saved)
    assert torch.equal(synthetic.training_labels, torch.tensor([[0.7, 0.3], [0.1, 0.9]]))


def test_only_rows_that_are_there_can_be_learned() -> None:
    synthetic = SyntheticSet(torch.zeros(6, 1, 2, 2), ipc=3, lr=1, momentum=0)
    for rows in (range(0), range(2, 5), range(-1, 2)):
        with pytest.raises(ValueError, match=rf"rows {rows.start} to {rows.stop - 1} of 3 cannot be learned"):
            synthetic.learn(rows)


def test_bases_that_all_images_share_cannot_be_frozen() -> None:
    bases = Learned(torch.zeros(2, 1, 2, 2), lr=1, momentum=0)
    synthetic = SyntheticSet(torch.zeros(4, 2), ipc=2, lr=1, momentum=0, decoder=Addressed(bases, (1, 4, 4)))
    with pytest.raises(ValueError, match="images whose decoder learns cannot be frozen"):
        synthetic.learn(range(1))


def test_learned_rows_are_left_out_of_nothing_but_the_leaf() -> None:
    """Frozen, learned and waiting rows of two classes; a step moves the learned ones, at the rate of the union."""
    start = torch.arange(6.0).view(6, 1, 1, 1)
    synthetic = SyntheticSet(start, ipc=3, lr=lambda rows: 0.1 * rows, momentum=0.5)
    synthetic.learn(range(1, 2))
    assert synthetic.images.flatten().tolist() == [0, 1, 3, 4]
    assert synthetic.labels.tolist() == [0, 0, 1, 1]
    assert synthetic.images_of(range(1, 2)).flatten().tolist() == [3, 4]
    assert synthetic.moving.tolist() == [False, True, False, True]
    assert synthetic.moving_images.flatten().tolist() == [1, 4]
    synthetic.images.sum().backward()
    assert synthetic.gradient.flatten().tolist() == [1, 1]
    synthetic.step()
    assert synthetic.stored.flatten().tolist() == pytest.approx([0, 0.8, 2, 3, 3.8, 5])
    assert synthetic.finished()[0].flatten().tolist() == synthetic.stored.flatten().tolist()
    synthetic.learn(range(2, 3))
    assert synthetic.images.flatten().tolist() == pytest.approx([0, 0.8, 2, 3, 3.8, 5])
    other = SyntheticSet(start, ipc=3, lr=lambda rows: 0.1 * rows, momentum=0.5)
    other.load_state({name: tensor.clone() for name, tensor in synthetic.state().items()})
    assert other.live == range(2, 3)
    assert torch.equal(other.stored, synthetic.stored)
