"""Where windows lie: uniform ones, those of the three stages against a plain reference, and when stages change."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
import torch
from torch import Generator, Tensor

from ddcore.methods.shared.truncation import Bounds, Stages, Window, early_window, late_window


def generator(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def norms(steps: int, seed: int = 3) -> Tensor:
    return 3 * torch.rand(steps, generator=generator(seed))


def drawn(values: Tensor, seed: int) -> int:
    """The step that a rule draws with a fresh generator of this seed."""
    return int(torch.multinomial(torch.softmax(values.double(), 0), 1, generator=generator(seed)))


@pytest.mark.parametrize(("total", "first", "steps"), [(20, 0, 5), (20, 6, 5), (7, 3, 4), (5, 0, 5)])
def test_uniform_windows_have_every_possible_start_equally_often(total: int, first: int, steps: int) -> None:
    source, starts = generator(), Counter[int]()
    possible = total - steps - first + 1
    for _ in range(200 * possible):
        window = Bounds(total, first).anywhere(steps, source)
        assert (window.steps, window.end) == (steps, window.start + steps)
        starts[window.start] += 1
    assert sorted(starts) == list(range(first, total - steps + 1))
    assert all(140 < count < 260 for count in starts.values()) or possible == 1


def test_large_gradients_are_drawn_by_their_softmax() -> None:
    values, source = torch.tensor([0.0, 2.0, 1.0, 0.0]), generator()
    bounds = Bounds(4, 0)
    starts = Counter(early_window(values, bounds, 1, 0, source).start for _ in range(4000))
    for start, share in enumerate(values.softmax(dim=0).tolist()):
        assert starts[start] / 4000 == pytest.approx(share, abs=0.03)


@pytest.mark.parametrize("seed", range(20))
def test_early_windows_are_those_of_the_released_rule(seed: int) -> None:
    """Its list of changes begins with 0, and a window has the place of its change in the sorted list."""
    total, steps, spread = 30, 8, 3
    values = norms(total)
    start = drawn(values, seed)
    listed = values.tolist()
    changes = [0.0, *(abs(b - a) for a, b in pairwise(listed))]
    length = int(steps - spread + 2 * spread * (sorted(changes).index(changes[start]) / total))
    found = early_window(values, Bounds(total, 0), steps, spread, generator(seed))
    assert found == Window(min(start, total - length), length)
    assert steps - spread <= found.steps < steps + spread


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("first", [0, 2])
def test_late_windows_are_short_and_never_begin_before_the_training(seed: int, first: int) -> None:
    total, steps, spread = 30, 8, 3
    values = norms(total)
    released = total - drawn(values, seed) - (steps - spread)
    found = late_window(values, Bounds(total, first), steps, spread, generator(seed))
    assert found == Window(max(released, first), steps - spread)
    assert first <= found.start <= found.end <= total


def test_a_late_window_of_a_late_gradient_is_moved_to_the_start() -> None:
    values = torch.zeros(30)
    values[29] = 100
    assert late_window(values, Bounds(30, 0), 8, 3, generator()) == Window(0, 5), "-4 in the released code"


def test_stages_change_after_rounds_without_a_gain() -> None:
    stages = Stages(20, 2)  # 3 rounds of two steps each, in the second stage 2.5 rounded up

    def rounds(*accuracies: float) -> list[int]:
        found = []
        for accuracy in accuracies:
            stages.note(accuracy - 1)
            stages.note(accuracy + 1)
            found.append(stages.stage)
        return found

    assert rounds(10, 11, 12, 14, 15, 16, 15) == [1, 1, 1, 1, 1, 1, 2], "a gain of 2 begins the count anew"
    assert rounds(15.9, 17, 17, 17, 17) == [2, 2, 2, 2, 3], "a gain of 1.1 does too"
    stages.note(90)
    assert stages.stage == 3


def test_stages_go_on_from_a_checkpoint() -> None:
    accuracies = [10.0, 10.0, 11.0, 13.0, 13.5, 13.5, 13.0, 13.0, 13.0, 13.0, 13.0]
    whole = Stages(14, 1)
    found = []
    for accuracy in accuracies:
        whole.note(accuracy)
        found.append(whole.stage)
    assert set(found) == {1, 2, 3}
    for stop in range(len(accuracies)):
        begun, resumed = Stages(14, 1), Stages(14, 1)
        for accuracy in accuracies[:stop]:
            begun.note(accuracy)
        resumed.load_state(begun.state())
        after = []
        for accuracy in accuracies[stop:]:
            resumed.note(accuracy)
            after.append(resumed.stage)
        assert after == found[stop:]
