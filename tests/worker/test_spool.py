"""The queue between pipe and database behaves like any queue, however little fits in memory."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given
from hypothesis import strategies as st

from worker.protocol import Progress
from worker.spool import SpooledQueue


def frame(number: int) -> Progress:
    return Progress(done=number, total=number)


def test_what_does_not_fit_in_memory_waits_in_a_file_that_goes_away(tmp_path: Path) -> None:
    path = tmp_path / "spool"
    queue = SpooledQueue(path, limit=3)
    for number in range(10):
        queue.put(frame(number))
    assert len(queue) == 10
    assert path.exists()
    taken = []
    while found := queue.take(4):
        taken += found
    assert taken == [frame(number) for number in range(10)]
    assert not path.exists()


def test_closing_forgets_everything(tmp_path: Path) -> None:
    path = tmp_path / "spool"
    queue = SpooledQueue(path, limit=1)
    for number in range(3):
        queue.put(frame(number))
    queue.close()
    assert (len(queue), queue.take(9), path.exists()) == (0, [], False)


@given(st.integers(1, 5), st.lists(st.one_of(st.none(), st.integers(1, 7)), max_size=60))
def test_order_is_kept(limit: int, acts: list[int | None]) -> None:
    with TemporaryDirectory() as folder:
        queue, model, number = SpooledQueue(Path(folder) / "spool", limit=limit), [], 0
        for act in acts:
            if act is None:
                queue.put(frame(number))
                model.append(frame(number))
                number += 1
            else:
                taken = queue.take(act)
                assert taken == model[: len(taken)]
                assert taken or not model
                del model[: len(taken)]
            assert len(queue) == len(model)
        queue.close()
