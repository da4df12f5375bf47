"""The gradient of a linear classifier against autograd, and the distance of two of them."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ddcore.formulas.linear_head import cosine_distance, head_gradient


def problem(count: int, shift: float) -> tuple[Tensor, Tensor, nn.Linear]:
    features = torch.sin(torch.arange(1, 4 * count + 1, dtype=torch.float64) + shift).view(count, 4)
    head = nn.Linear(4, 3).double()
    with torch.no_grad():
        head.weight.copy_(torch.sin(torch.arange(12.0, dtype=torch.float64)).view(3, 4))
        head.bias.copy_(torch.tensor([0.1, -0.2, 0.3]))
    return features, torch.arange(count) % 3, head


def by_autograd(features: Tensor, labels: Tensor, head: nn.Linear, *, graph: bool = False) -> Tensor:
    loss = F.cross_entropy(head(features), labels)
    weight, bias = torch.autograd.grad(loss, [head.weight, head.bias], create_graph=graph)
    return torch.cat([weight.flatten(), bias])


@pytest.mark.parametrize("count", [1, 2, 7])
def test_the_gradient_is_that_of_autograd(count: int) -> None:
    features, labels, head = problem(count, 0.5)
    found = head_gradient(features, labels, head.weight.detach(), head.bias.detach())
    torch.testing.assert_close(found, by_autograd(features, labels, head), rtol=1e-12, atol=1e-14)


def test_its_slope_in_the_features_is_the_one_of_two_passes_back() -> None:
    features, labels, head = problem(5, 1.5)
    target = by_autograd(*problem(6, 0.0))
    plain, written_out = features.clone().requires_grad_(), features.clone().requires_grad_()
    expected = 1 - F.cosine_similarity(by_autograd(plain, labels, head, graph=True), target, dim=0)
    found = cosine_distance(head_gradient(written_out, labels, head.weight.detach(), head.bias.detach()), target)
    torch.testing.assert_close(found, expected)
    (by_two_passes,) = torch.autograd.grad(expected, plain)
    (in_one,) = torch.autograd.grad(found, written_out)
    assert float(by_two_passes.norm()) > 0
    torch.testing.assert_close(in_one, by_two_passes, rtol=1e-10, atol=1e-13)


def test_the_distance_of_a_vector_from_itself_and_from_its_opposite() -> None:
    vector = torch.tensor([3.0, -4.0])
    assert [round(float(cosine_distance(vector, k * vector)), 6) for k in (2, -0.5)] == [0, 2]
    assert float(cosine_distance(vector, torch.zeros(2))) == 1
