"""The harness compares results before speed, and every benchmark can be asked for by name."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from benchmarks.__main__ import every_benchmark
from benchmarks.harness import Benchmark, Way, compare, measure, store, table


def way(name: str, seconds: float, *values: float) -> Way:
    def work() -> Sequence[Tensor]:
        time.sleep(seconds)
        return [torch.tensor(values)]

    return Way(name, work)


def test_ratios_are_of_the_reference_to_each_way_round_by_round() -> None:
    slow, fast = compare([way("slow", 0.04, 1.0), way("fast", 0.01, 1.0)], rounds=3)
    assert slow.ratios == [1.0] * 3
    assert all(s / f == r for s, f, r in zip(slow.seconds, fast.seconds, fast.ratios, strict=True))
    assert min(fast.ratios) > 1.5


def test_memory_is_what_the_work_adds_at_its_peak() -> None:
    big = Way("big", lambda: [torch.ones(100 * 2**18).sum(0, keepdim=True)])
    _, measured = compare([way("nothing", 0, 100 * 2.0**18), big], rounds=1)
    assert 95 < measured.peak_mib < 150


def test_disagreement_is_reported_relative_to_the_largest_value() -> None:
    _, other = compare([way("reference", 0, 3.0, -4.0), way("other", 0, 4.0, -4.0)], rounds=1)
    assert other.difference == pytest.approx(0.25)
    assert other.cosine == pytest.approx(28 / (5 * 32**0.5))


def test_a_large_result_does_not_hide_a_small_one() -> None:
    def results(slope: float) -> Way:
        return Way("loss and slope", lambda: [torch.tensor([1000.0]), torch.tensor([1.0, slope])])

    _, other = compare([results(0.0), results(1.0)], rounds=1)
    assert other.difference == pytest.approx(1.0)
    assert other.cosine == pytest.approx(0.5**0.5)


def test_ways_that_return_different_things_are_refused() -> None:
    two = Way("two", lambda: [torch.ones(1), torch.ones(1)])
    with pytest.raises(ValueError, match="different things"):
        compare([two, way("one", 0, 1.0)], rounds=1)


def test_where_time_does_not_matter_each_way_works_once(tmp_path: Path) -> None:
    asked = []

    def counted(number: float) -> Way:
        def work() -> Sequence[Tensor]:
            asked.append(number)
            return [torch.tensor([number])]

        return Way(f"N = {number}", work)

    benchmark = Benchmark("size", "bytes", lambda: [counted(4.0), counted(5.0)], timed=False)
    first, second = measure(benchmark, rounds=3)
    assert asked == [4, 5]
    assert (first.number, second.number, second.difference) == (4, 5, 0.25)
    assert (second.seconds, second.ratios) == ([], [])
    assert "5   difference 2.5e-01" in table(benchmark, [first, second])
    assert json.loads(store(benchmark, [first, second], tmp_path).read_text())["ways"][1]["number"] == 5


def test_results_are_stored_with_the_machine_and_shown_with_the_verdict(tmp_path: Path) -> None:
    benchmark = Benchmark("nap", "sleeping", lambda: [way("long", 0.03, 1.0), way("short", 0.01, 1.0)], target=1.2)
    measurements = compare(benchmark.ways(), rounds=2)
    stored = json.loads(store(benchmark, measurements, tmp_path).read_text())
    assert stored["benchmark"] == "nap"
    assert stored["machine"]["torch"] == torch.__version__
    assert all(stored["machine"]["gflops"][precision] > 0.1 for precision in ("fp32", "bf16"))
    assert stored["ways"][1]["median_ratio"] == pytest.approx(sum(measurements[1].ratios) / 2)
    assert table(benchmark, measurements).splitlines()[-1] == "  target 1.2 x: reached"


def test_every_module_lists_its_benchmarks() -> None:
    names = every_benchmark()
    assert {"forward", "image_gradient", "evaluation", "teacher", "ensemble_compiled"} <= set(names)
    assert all(name == benchmark.name for name, benchmark in names.items())
