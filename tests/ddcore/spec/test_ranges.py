from __future__ import annotations

from typing import Any

import pytest

from ddcore.spec.ranges import is_several, read_values, write_values

LINES: dict[str, Any] = {
    "dm, idm": ["dm", "idm"],
    "dm": ["dm"],
    "1,2.5,1e-3,true,null": [1, 2.5, 0.001, True, None],
    '["a, b", {"name": "x"}]': ["a, b", {"name": "x"}],
    "0.1..10:5:log": {"from": 0.1, "to": 10, "count": 5, "scale": "log"},
    "1 .. 10 : 3": {"from": 1, "to": 10, "count": 3},
    "1..10:3:linear": {"from": 1, "to": 10, "count": 3},
    "-1e-2..+.5:2:LOG": {"from": -0.01, "to": 0.5, "count": 2, "scale": "log"},
}


@pytest.mark.parametrize("line", LINES)
def test_a_line_says_its_values_and_is_written_back(line: str) -> None:
    assert read_values(line) == LINES[line]
    assert read_values(write_values(LINES[line])) == LINES[line]


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("", "leaves a value out"),
        ("dm,,idm", "leaves a value out"),
        ("1..10", "no span"),
        ("1..10:three", "no span"),
        ("1..10:3:exp", "no span"),
        ("dm..idm:3", "no span"),
        ("[]", "no value"),
        ("[1, 2", "none"),
    ],
)
def test_what_is_no_line_is_refused_with_a_way_out(line: str, word: str) -> None:
    with pytest.raises(ValueError, match=word):
        read_values(line)


@pytest.mark.parametrize("values", [["a, b"], [[1, 2]], ["1"], [" x"], ["1..2"]])
def test_values_that_a_plain_line_would_change_are_written_as_json(values: list[Any]) -> None:
    assert write_values(values).startswith("[")
    assert read_values(write_values(values)) == values


def test_numbers_of_any_length_are_read_in_no_time() -> None:
    assert is_several("9" * 100_000 + ",1")
    assert read_values("9" * 400) == [float("inf")]
