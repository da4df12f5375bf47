"""Spaces: points by number, draws, and what a point makes of a body."""

from __future__ import annotations

import itertools
import time
from typing import Any

import pytest
from pydantic import ValidationError

from app.studies.schemas import Range
from app.studies.space import Space, laid_over, title, with_iterations

PATHS: dict[str, Any] = {"method": ["dm", "idm"], "ipc": [1, 2, 5], "regularizers.mim.weight": [0.1, 1.0]}


def test_points_are_those_of_the_product_in_its_order() -> None:
    space = Space(PATHS)
    expected = [dict(zip(PATHS, values, strict=True)) for values in itertools.product(*PATHS.values())]
    assert list(space.grid()) == expected
    assert space.size == len(expected) == 12
    assert Space({}).size == 1
    assert list(Space({}).grid()) == [{}]


def test_an_enormous_space_is_instant_and_exact() -> None:
    space = Space({f"method.a{i}": list(range(1000)) for i in range(12)})
    begun = time.process_time()
    drawn = space.draw(256, seed=1)
    assert time.process_time() - begun < 1
    assert space.size == 10**36
    assert len({tuple(point.values()) for point in drawn}) == 256


class TestDraw:
    def test_follows_from_the_seed(self) -> None:
        space = Space({"a": list(range(1000)), "b": list(range(1000))})
        assert space.draw(20, 7) == space.draw(20, 7) != space.draw(20, 8)
        # What was drawn once is drawn for ever, on every machine and version.
        assert space.draw(3, 0) == [{"a": 246, "b": 623}, {"a": 421, "b": 85}, {"a": 699, "b": 937}]

    def test_takes_all_points_where_there_are_no_more(self) -> None:
        assert Space(PATHS).draw(50, 0) == list(Space(PATHS).grid())

    def test_draws_different_points_in_the_order_of_the_space(self) -> None:
        everything = list(Space(PATHS).grid())
        drawn = Space(PATHS).draw(11, 3)
        positions = [everything.index(point) for point in drawn]
        assert positions == sorted(set(positions))

    def test_is_uniform(self) -> None:
        space = Space({"a": list(range(10))})
        counts = [0] * 10
        for seed in range(3000):
            counts[space.draw(1, seed)[0]["a"]] += 1
        # Chi-squared with 9 degrees of freedom is above 27.9 once in a thousand.
        assert sum((count - 300) ** 2 / 300 for count in counts) < 27.9


class TestRange:
    @pytest.mark.parametrize(
        ("given", "values"),
        [
            ({"from": 0.1, "to": 10, "count": 5, "scale": "log"}, (0.1, 0.316227766, 1.0, 3.16227766, 10.0)),
            ({"from": 1, "to": 10, "count": 3}, (1, 6, 10)),
            ({"from": 1, "to": 100, "count": 3, "scale": "log"}, (1, 10, 100)),
            ({"from": 0.0, "to": 1, "count": 3}, (0.0, 0.5, 1.0)),
            ({"from": -2, "to": 2, "count": 2}, (-2, 2)),
        ],
    )
    def test_values(self, given: dict[str, Any], values: tuple[float, ...]) -> None:
        found = Range.model_validate(given).values()
        assert found == values
        assert [type(value) for value in found] == [type(value) for value in values]

    @pytest.mark.parametrize(
        ("given", "said"),
        [
            ({"from": 1, "to": 3, "count": 5}, "5 whole numbers from 1 to 3 are not all different"),
            ({"from": 3, "to": 3, "count": 2}, "`from` must be the smaller one"),
            ({"from": 0, "to": 3, "count": 2, "scale": "log"}, "needs values above 0"),
            ({"from": 0, "to": 3, "count": 1}, "greater than or equal to 2"),
            ({"from": 0, "to": float("inf"), "count": 2}, "finite"),
            ({"from": 0, "to": 3, "count": 2, "step": 1}, "not permitted"),
        ],
    )
    def test_refuses(self, given: dict[str, Any], said: str) -> None:
        with pytest.raises(ValidationError, match=said):
            Range.model_validate(given)


class TestLaidOver:
    @pytest.mark.parametrize(
        ("base", "values", "expected"),
        [
            ({"method": "dm"}, {"method.lr_img": 2}, {"method": {"name": "dm", "lr_img": 2}}),
            ({"method": "dm"}, {"method.lr_img": 2, "method": "idm"}, {"method": {"name": "idm", "lr_img": 2}}),
            ({"method": {"name": "dm", "lr_img": 1}}, {"method": "dm"}, {"method": {"name": "dm", "lr_img": 1}}),
            (
                {"method": {"name": "dm", "iterations": 9, "lr_img": 1}},
                {"method": "idm"},
                {"method": {"name": "idm", "iterations": 9}},
            ),
            (
                {"regularizers": [{"name": "mim", "weight": 1}]},
                {"regularizers.mim.weight": 2},
                {"regularizers": {"mim": {"name": "mim", "weight": 2}}},
            ),
            (
                {"regularizers": {"mim": 1}},
                {"regularizers.mim.start": 2},
                {"regularizers": {"mim": {"weight": 1, "start": 2}}},
            ),
            ({"regularizers": {"mim": 1, "cmi": 2}}, {"regularizers.mim": None}, {"regularizers": {"cmi": 2}}),
            ({"network": "convnet"}, {"network.width": 64}, {"network": {"name": "convnet", "width": 64}}),
            ({}, {"evaluation.epochs": 3, "ipc": 2}, {"evaluation": {"epochs": 3}, "ipc": 2}),
        ],
    )  # fmt: skip
    def test_sets_values(self, base: dict[str, Any], values: dict[str, Any], expected: dict[str, Any]) -> None:
        untouched = str(base)
        assert laid_over(base, values) == expected
        assert str(base) == untouched

    def test_iterations_go_into_methods_that_take_steps(self) -> None:
        assert with_iterations({"preset": "quick/dm-digits", "iterations": 5}, takes_steps=True) == {
            "preset": "quick/dm-digits",
            "method": {"iterations": 5},
        }
        assert with_iterations({"method": "random", "iterations": 5}, takes_steps=False) == {"method": "random"}


def test_titles() -> None:
    assert title({"preset": "quick/dm-digits", "network.width": 64, "regularizers.mim": None}) == (
        "quick/dm-digits, network.width 64, no mim"
    )


def test_a_point_is_found_by_what_it_sets() -> None:
    space = Space({**PATHS, "regularizers.cmi": [None, {"weight": 1.0, "relative": None}]})
    for number, point in enumerate(space.grid()):
        assert space.number(point) == number
        assert space.at(space.positions(point)) == point


def test_a_value_is_found_as_a_database_writes_it() -> None:
    space = Space({"a": [True, 1.5, 1e22, "1.5", {"x": 1, "y": 2}]})
    kept = [True, 1.5, 10**22, "1.5", {"y": 2, "x": 1}]
    assert [space.positions({"a": value}) for value in kept] == [{"a": position} for position in range(5)]
