"""Streams of one seed: independent of each other, and resumable."""

from __future__ import annotations

import torch

from ddcore.runtime.randomness import Randomness

CPU = torch.device("cpu")


def draw(random: Randomness, name: str) -> torch.Tensor:
    return torch.rand(4, generator=random.stream(name))


def test_a_stream_does_not_depend_on_the_use_of_others() -> None:
    alone, beside = Randomness(3, CPU), Randomness(3, CPU)
    draw(beside, "mim")
    draw(beside, "probe")
    assert torch.equal(draw(alone, "method"), draw(beside, "method"))


def test_names_seeds_and_sides_give_different_streams() -> None:
    random = Randomness(3, CPU)
    host = torch.rand(4, generator=random.host_stream("a"))
    values = [draw(random, "a"), draw(random, "b"), draw(Randomness(4, CPU), "a"), host]
    assert all(not torch.equal(values[i], values[j]) for i in range(4) for j in range(i))


def test_state_continues_every_stream_where_it_was() -> None:
    random = Randomness(3, CPU)
    draw(random, "a")
    torch.rand(2, generator=random.host_stream("b"))
    state = random.state()
    expected = draw(random, "a"), torch.rand(2, generator=random.host_stream("b"))
    resumed = Randomness(3, CPU)
    draw(resumed, "unused")
    resumed.load_state(state)
    assert torch.equal(draw(resumed, "a"), expected[0])
    assert torch.equal(torch.rand(2, generator=resumed.host_stream("b")), expected[1])
    assert set(resumed.state()) == {"a", "host/b"}
