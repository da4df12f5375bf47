"""Information estimates against figures worked out beforehand and against slow loops."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ddcore.formulas import information


def sines(*shape: int, shift: float = 0.0) -> Tensor:
    """Rows of sin(1 + shift), sin(2 + shift), … in float64."""
    return torch.sin(torch.arange(1, math.prod(shape) + 1, dtype=torch.float64) + shift).reshape(shape)


def fill(*shape: int, a: float = 1.0, b: float = 0.0) -> Tensor:
    """Element k is sin(a k + b), computed in float64 and cast to float32."""
    return torch.sin(a * torch.arange(math.prod(shape), dtype=torch.float64) + b).float().reshape(shape)


def slow_cmi(features: Tensor, labels: list[int]) -> float:
    total = 0.0
    p = [[math.exp(v) / sum(math.exp(w) for w in row) for v in row] for row in features.tolist()]
    for j, label in enumerate(labels):
        members = [p[i] for i, other in enumerate(labels) if other == label]
        q = [sum(column) / len(members) for column in zip(*members, strict=True)]
        total += sum(pj * math.log(pj / qj) for pj, qj in zip(p[j], q, strict=True))
    return total / len(labels)


class TestCMI:
    @pytest.mark.parametrize(
        ("features", "classes", "expected"),
        [(fill(4, 5), 2, 0.0894661), (fill(6, 5, a=0.7, b=0.5), 2, 0.1571528)],
    )
    def test_printed_values_in_float32(self, features: Tensor, classes: int, expected: float) -> None:
        labels = torch.arange(classes).repeat_interleave(len(features) // classes)
        assert information.empirical_cmi(features, labels).item() == pytest.approx(expected, rel=1e-5)

    def test_printed_gradient_norm(self) -> None:
        features = fill(4, 5).requires_grad_()
        information.empirical_cmi(features, torch.tensor([0, 0, 1, 1])).backward()
        assert features.grad is not None
        assert features.grad.norm().item() == pytest.approx(0.0853143, rel=1e-4)

    def test_printed_values_in_float64(self) -> None:
        features = sines(4, 3).requires_grad_()
        value = information.empirical_cmi(features, torch.tensor([0, 0, 1, 1]))
        value.backward()
        assert value.item() == pytest.approx(0.034595206226810615, rel=1e-12)
        assert value.item() / math.log(2) == pytest.approx(0.04991033246195067, rel=1e-12)
        assert features.grad is not None
        assert features.grad.norm().item() == pytest.approx(0.07110246164305419, rel=1e-12)
        halves = [information.empirical_cmi(features[i : i + 2], torch.tensor([0, 0])).item() for i in (0, 2)]
        assert halves == pytest.approx([0.04561686810381814, 0.02357354434980309], rel=1e-12)

    def test_one_image_a_class_has_none(self) -> None:
        value = information.empirical_cmi(fill(3, 7, a=2.3), torch.arange(3))
        assert abs(value.item()) <= 2e-8

    def test_classes_of_different_size_in_any_order(self) -> None:
        labels = [2, 0, 2, 2, 0, 1]
        features = sines(6, 4, shift=0.3) * 3
        value = information.empirical_cmi(features, torch.tensor(labels)).item()
        assert value == pytest.approx(slow_cmi(features, labels), rel=1e-12)

    def test_detached_means_leave_the_gradient_exact(self) -> None:
        labels = torch.tensor([0, 0, 0, 1, 1])
        features = sines(5, 6).requires_grad_()
        information.empirical_cmi(features, labels).backward()

        def whole(x: Tensor) -> Tensor:
            p = x.softmax(1)
            q = torch.stack([p[labels == c].mean(0) for c in (0, 1)])[labels]
            return (p * (p / q).log()).sum() / len(labels)

        other = sines(5, 6).requires_grad_()
        whole(other).backward()
        assert features.grad is not None
        assert other.grad is not None
        assert torch.allclose(features.grad, other.grad, rtol=0, atol=1e-15)


class TestMutualInformation:
    """Four unit vectors a side and tau = 0.5, with figures worked out beforehand in float64."""

    def setup_method(self) -> None:
        self.raw = sines(4, 2).requires_grad_()
        real = F.normalize(sines(4, 2, shift=1), dim=1)
        self.similarity = F.normalize(self.raw, dim=1) @ real.T
        self.pairs = information.Pairs.of(torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 0, 1]))

    def test_loss_readings_and_gradient(self) -> None:
        logits = self.similarity / 0.5 - math.log(2 / 4)  # eq. 15
        assert self.pairs.mean_positive(F.logsigmoid(logits)).item() == pytest.approx(-0.6819301069697408, rel=1e-12)
        assert self.pairs.mean_negative(F.logsigmoid(-logits)).item() == pytest.approx(-1.4278511070196604, rel=1e-12)
        loss = information.nce_loss(logits, self.pairs, negatives=2)
        assert loss.item() == pytest.approx(3.5376323210090614, rel=1e-12)
        assert information.infonce_bound(self.similarity / 0.5, self.pairs).item() == pytest.approx(
            -0.8165054784043313, rel=1e-12
        )
        loss.backward()
        assert self.raw.grad is not None
        assert self.raw.grad.norm().item() == pytest.approx(0.3997431410135862, rel=1e-12)

    def test_the_printed_read_off_breaks_the_ceiling(self) -> None:
        """Why it is reported nowhere: log N + E+[log h] of eq. 14 exceeds log C."""
        logits = self.similarity / 0.5 - math.log(8 / 4)
        assert information.nce_loss(logits, self.pairs, 8).item() == pytest.approx(6.720850051213297, rel=1e-12)
        read_off = math.log(8) + self.pairs.mean_positive(F.logsigmoid(logits)).item()
        assert read_off == pytest.approx(0.7162075409139, rel=1e-10)
        assert read_off > math.log(2)

    def test_infonce_against_loops_and_invariant_to_an_offset(self) -> None:
        logits = (self.similarity / 0.5).detach()
        total = 0.0
        for i, row in enumerate(logits.tolist()):
            log_mean = math.log(sum(math.exp(v) for v in row) / len(row))
            own = [v - log_mean for v, same in zip(row, self.pairs.positive[i].tolist(), strict=True) if same]
            total += sum(own) / len(own)
        expected = total / len(logits)
        assert information.infonce_bound(logits, self.pairs).item() == pytest.approx(expected, rel=1e-12)
        assert information.infonce_bound(logits + 7, self.pairs).item() == pytest.approx(expected, rel=1e-12)

    def test_perfect_critic_reaches_log_c(self) -> None:
        classes, per_class = 5, 40
        labels = torch.arange(classes).repeat_interleave(per_class)
        pairs = information.Pairs.of(labels, labels)
        ratio = torch.where(pairs.positive, math.log(classes), -30.0).double()
        assert information.infonce_bound(ratio, pairs).item() == pytest.approx(math.log(classes), abs=1e-9)

    def test_pairs_of_one_kind_only_are_refused(self) -> None:
        with pytest.raises(ValueError, match="different classes"):
            information.Pairs.of(torch.zeros(2), torch.zeros(3))


def test_layer_weights_grow_with_depth() -> None:
    assert information.layer_weights(3, 2.0) == [0.5, 1.0, 2.0]
    assert information.layer_weights(4, 1.0) == [1.0] * 4


def test_readings_are_capped_at_log_c_but_keep_negative_values() -> None:
    assert information.capped(3.0, 10) == math.log(10)
    assert information.capped(-4.0, 10) == -4.0
