"""Lines of a log on their way to the database."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from worker import log_book, protocol
from worker.log_book import LogBook

NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)
HEAD = "2026-11-28T12:00:00.000Z #2 "


def book(limit: int = 10**6) -> LogBook:
    return LogBook(2, limit, lambda: NOON)


def lines(made: LogBook) -> list[str]:
    return [line.removeprefix(HEAD) for line in made.next().decode().splitlines()]


def test_each_line_has_time_attempt_and_source() -> None:
    made = book()
    made.add_frame(protocol.PhaseStarted(phase="distilling", total=10))
    made.add_frame(protocol.Log(level="warning", message="two\nlines"))
    made.add_frame(protocol.Resumed(step=5, exact=True))
    made.add_frame(protocol.Progress(done=1, total=10))
    made.add_frame(protocol.Failed(code="diverged", message="NaN", retryable=False))
    assert made.next().decode() == (
        f"{HEAD}phase   distilling, 0 of 10\n{HEAD}warning two\n{HEAD}warning lines\n"
        f"{HEAD}info    goes on after step 5\n{HEAD}error   NaN (diverged)\n"
    )


def test_output_appears_when_its_line_ends_or_is_long() -> None:
    made = book()
    made.add_output(b"one\r\n\ntw")
    made.add_output(b"o\r50 %\r")
    made.add_output("ü\x1b[2J\u202e".encode()[:1])
    made.add_output("ü\x1b[2J\u202e".encode()[1:] + b"\xff")
    assert lines(made) == ["output  one", "output  two", "output  50 %"]
    made.end_output()
    assert lines(made)[3:] == ["output  ü\\x1b[2J\\u202e\\xff"]
    made.add_output(b"x" * (log_book.LONGEST_LINE + 1))
    assert lines(made)[4:] == [f"output  {'x' * log_book.LONGEST_LINE}", "output  x"]


def test_what_is_stored_is_forgotten_line_by_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_book, "WRITTEN", 100)
    made = book()
    made.add_output(b"first\nsecond\nthird\n")
    assert lines(made) == ["output  first", "output  second"]
    made.stored(len(made.next()))
    assert lines(made) == ["output  third"]
    made.stored(len(made.next()))
    assert len(made) == 0


def test_beyond_the_limit_only_the_last_lines_are_kept() -> None:
    """A gigabyte in the same way, only longer."""
    made = book(limit=200_000)
    made.begin(120_000)
    for number in range(200):
        made.add_output(b"".join(b"%d/%d\n" % (number, line) for line in range(100)))
    assert len(made) <= 80_000
    made.end_output()
    made.add("worker", "the process ended with code -9")
    found = made.next().decode().splitlines()
    assert len(made) <= 80_000 + log_book.LAST + 500
    assert found[0] == f"{HEAD}output  0/0"
    assert found[-2] == f"{HEAD}output  199/99"
    assert found[-1] == f"{HEAD}worker  the process ended with code -9"
    (gap,) = [at for at, line in enumerate(found) if "are left out here: the log may have 200,000 bytes" in line]
    assert set(found[:gap]).isdisjoint(found[gap:])
    missing = int(found[gap].split()[3].replace(",", ""))
    everything = sum(len(f"{HEAD}output  {a}/{b}\n") for a in range(200) for b in range(100))
    assert sum(len(line) + 1 for line in found if " output " in line) + missing == everything


def test_what_comes_faster_than_it_is_stored_leaves_one_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_book, "WAITING", 200)
    made = book()
    made.add_output(b"one\ntwo\n")
    made.add_output(b"one\ntwo\nsix\n")
    assert len(made) == 200
    made.add_output(b"lost\n")
    made.stored(120)
    made.add_output(b"lost\n")  # less than before, but still too much: gaps are few and long
    made.add("phase", "evaluating")
    made.stored(len(made.next()))
    made.add_output(b"four\n")
    made.end_output()
    assert lines(made) == [
        "worker  82 bytes are left out here: it came faster than it could be stored", "output  four",
    ]  # fmt: skip
