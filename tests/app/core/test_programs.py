"""What a program says where it cannot work, and with which status it ends."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from app.core.programs import REFUSED, UNREACHABLE, ending_plainly
from app.core.settings import Settings
from app.core.storage import StorageError


class Unsuitable(RuntimeError):
    pass


def ending(error: Exception, *also: type[Exception]) -> int | str | None:
    with pytest.raises(SystemExit) as left, ending_plainly(*also):
        raise error
    return left.value.code


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (OperationalError("SELECT 1", {}, Exception("no route")), UNREACHABLE, "the database cannot be used: no route"),
        (StorageError("no bucket"), UNREACHABLE, "the store cannot be used: no bucket"),
        (ValueError("DD_PEPPER is short"), REFUSED, "DD_PEPPER is short"),
        (Unsuitable("the schema is old"), REFUSED, "the schema is old"),
    ],
)
def test_the_reason_is_one_line_and_the_status_says_whose_it_is(
    error: Exception, status: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ending(error, Unsuitable) == status
    assert capsys.readouterr().err == f"{said}\n"


def test_settings_are_named_as_the_environment_has_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DD_PORT", "99999")
    with pytest.raises(SystemExit) as left, ending_plainly():
        Settings(home=tmp_path)
    assert left.value.code == REFUSED
    assert capsys.readouterr().err == "DD_PORT is '99999': Input should be less than or equal to 65535\n"


def test_what_nobody_expects_keeps_its_trace_and_what_goes_well_goes_on() -> None:
    with pytest.raises(Unsuitable), ending_plainly():
        raise Unsuitable
    done = []
    with ending_plainly():
        done.append(1)
    assert done == [1]
