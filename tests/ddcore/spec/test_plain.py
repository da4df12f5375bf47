from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from ddcore.spec import SpecError, parse
from ddcore.spec.plain import PlainModel


class Inner(PlainModel):
    share: float = 0.5


class Asked(PlainModel):
    ipc: int = 1
    size: int | tuple[int, int] | None = None
    by_name: dict[str, float] | None = None
    audit: bool | None = None
    inner: Inner = Inner()
    several: tuple[Inner, ...] = ()


@pytest.mark.parametrize(
    "given",
    [
        {"ipc": 2},
        {"ipc": 2.0},
        {"size": [3, 4]},
        {"size": None},
        {"by_name": {"mim": 1}},
        {"audit": False},
        {"inner": {"share": 1}, "several": [{"share": 0.25}]},
    ],
)
def test_what_json_calls_a_number_or_a_boolean_is_one(given: dict[str, Any]) -> None:
    assert Asked.model_validate(given).model_dump(mode="json", exclude_unset=True) == given


@pytest.mark.parametrize(
    ("given", "place"),
    [
        ({"ipc": "2"}, ("ipc",)),
        ({"ipc": True}, ("ipc",)),
        ({"ipc": 2.5}, ("ipc",)),
        ({"size": ["3", 4]}, ("size",)),
        ({"by_name": {"mim": "1"}}, ("by_name", "mim")),
        ({"by_name": {"mim": False}}, ("by_name", "mim")),
        ({"audit": 1}, ("audit",)),
        ({"audit": "yes"}, ("audit",)),
        ({"inner": {"share": "1"}}, ("inner", "share")),
        ({"several": [{"share": True}]}, ("several", 0, "share")),
    ],
)
def test_nothing_else_is(given: dict[str, Any], place: tuple[str | int, ...]) -> None:
    with pytest.raises(ValidationError) as caught:
        Asked.model_validate(given)
    assert {error["loc"][: len(place)] for error in caught.value.errors()} == {place}


@pytest.mark.parametrize(
    ("field", "detail"),
    [
        ({"ipc": "2"}, "`ipc` is '2': input should be a valid integer"),
        ({"seed": False}, "`seed` is False: input should be a valid integer"),
        ({"evaluation": {"audit": "on"}}, "`audit` is 'on': input should be a valid boolean"),
        ({"method": {"name": "dm", "lr_img": True}}, "`lr_img` is True: input should be a valid number"),
    ],
)
def test_specifications_take_no_text_for_a_number(field: dict[str, Any], detail: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse({"dataset": "digits", "ipc": 1, "method": "dm", **field})
    assert [problem.detail for problem in caught.value.problems] == [detail]
