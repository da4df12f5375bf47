from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ddcore.data.image_files import Fit, Picture
from ddcore.data.ingest import decoding, decoding_process
from ddcore.data.ingest.decoding import Decoder
from ddcore.data.ingest.intake import take_in
from ddcore.data.ingest.piece import stacked
from ddcore.data.source import Labels, Part, RawImage, batches
from ddcore.errors import DecodingLostError
from ddcore.spec.ingest import DatasetReport, IngestOptions


def encoded(number: int, size: tuple[int, int] = (3, 2)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, (number % 256, number // 256, 7)).save(buffer, "PNG")
    return buffer.getvalue()


def part(images: Sequence[RawImage]) -> Part:
    def of_files() -> Iterator[Sequence[RawImage]]:
        return batches(images, 500)

    return Part("train", "part", Labels(np.zeros(len(images), dtype=np.int64)), of_files, str)


def test_images_come_in_their_order_whatever_the_threads_do() -> None:
    with Decoder(None) as decoder:
        done = list(decoder.decode(part([encoded(n) for n in range(1500)]), np.full(1500, True)))
    pixels = np.concatenate([d.pixels for d in done if d.pixels is not None]).astype(np.int64)
    assert (pixels[:, 0, 0, 0] + 256 * pixels[:, 1, 0, 0]).tolist() == list(range(1500))
    assert np.concatenate([d.rows for d in done]).tolist() == list(range(1500))


def test_only_wanted_images_are_decoded_and_all_faults_are_told() -> None:
    images: list[RawImage] = [encoded(0), b"no image", encoded(2), None, b"not wanted", np.zeros((2, 2, 2), np.uint8)]
    with Decoder(None) as decoder:
        done = list(decoder.decode(part(images), np.array([True, True, False, True, False, True])))
    assert np.concatenate([d.rows for d in done]).tolist() == [0]
    assert sorted(place for d in done for place in d.unreadable) == [1, 3, 5]
    assert sum((d.modes for d in done), start=type(done[0].modes)()) == {"RGB": 1}


def test_heads_alone_are_read_once_sizes_are_all_that_is_asked() -> None:
    cut = encoded(1, (300, 200))[:60]
    with Decoder(Fit(8, 8)) as decoder:
        decoder.measure_only = True
        done = list(decoder.decode(part([cut, encoded(2)]), np.array([True, True])))
    assert {place: size for d in done for place, size in d.sizes.items()} == {0: (300, 200), 1: (3, 2)}
    assert all(d.pixels is None for d in done)


def test_few_large_images_are_held_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "_BYTES_A_TASK", 10 * 3 * 2 * 3)
    with Decoder(None) as decoder:
        done = list(decoder.decode(part([encoded(n) for n in range(200)]), np.full(200, True)))
    assert max(len(d.rows) for d in done) == 10


def test_grey_and_coloured_pictures_are_stacked() -> None:
    grey, coloured = np.full((1, 2, 2), 9, np.uint8), np.arange(12, dtype=np.uint8).reshape(3, 2, 2)
    pixels: Any = stacked([Picture(grey), Picture(coloured)])
    assert np.array_equal(pixels, np.stack([grey.repeat(3, axis=0), coloured]))
    alone: Any = stacked([Picture(grey)])
    assert alone.shape == (1, 1, 2, 2)


def test_pictures_that_differ_in_size_or_type_are_not_stacked() -> None:
    small, large = Picture(np.zeros((3, 2, 2), np.uint8)), Picture(np.zeros((3, 2, 4), np.uint8))
    assert stacked([small, large]) is stacked([small, Picture(np.zeros((3, 2, 2), np.uint16))]) is stacked([]) is None


@pytest.fixture
def helped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes decode whatever comes after the first images."""
    monkeypatch.setattr(decoding, "_WORTHWHILE", 0)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)


def test_a_set_is_the_same_whatever_decodes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, helped: None) -> None:
    """Files that cannot be decoded are named alike, too."""
    for number in range(600):
        path = tmp_path / "set" / f"class {number % 2}" / f"{number:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(number) if number not in (0, 7, 400) else encoded(number)[:50])
    started: list[int] = []
    start = Decoder._start

    def note(decoder: Decoder) -> None:
        start(decoder)
        started.append(len(decoding_process.running()))

    monkeypatch.setattr(Decoder, "_start", note)

    def taken(shelf: str) -> DatasetReport:
        options = IngestOptions(skip_unreadable=True)
        return take_in(tmp_path / "set", tmp_path / shelf, name="set", options=options).report

    by_processes = taken("one")
    assert started == [2]
    assert not decoding_process.running()
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    by_this_one = taken("other")
    assert len(started) == 1
    assert by_processes == by_this_one
    assert [Path(bad.place).name for bad in by_processes.unreadable] == ["000.png", "400.png", "007.png"]


def test_a_process_that_is_lost_while_it_decodes_is_told(helped: None) -> None:
    with Decoder(None, 1000) as decoder:
        decoded = decoder.decode(part([encoded(n) for n in range(1000)]), np.full(1000, True))
        next(decoded)
        for pid in decoding_process.running():
            os.kill(pid, signal.SIGKILL)
        with pytest.raises(DecodingLostError, match=r"images \d+ to \d+ .* code -9"):
            list(decoded)


def test_decoding_processes_end_with_the_one_that_was_killed(tmp_path: Path) -> None:
    """They import nothing from the working directory either, which may hold what strangers sent."""
    (tmp_path / "pickle.py").write_text("raise SystemExit('a module of strangers')")
    code = (
        "import sys, time\n"
        "from ddcore.data.ingest.decoding_process import DecodingProcess\n"
        "from ddcore.data.ingest.piece import Piece\n"
        "import os; os.chdir(sys.argv[1])\n"
        "process = DecodingProcess()\n"
        "process.decode(Piece({0: b'no image'}, None, False))\n"
        "print(process.pid, flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        helper = int(parent.stdout.readline())
        parent.kill()
    until = time.monotonic() + 60
    while Path(f"/proc/{helper}").exists() and time.monotonic() < until:
        time.sleep(0.05)
    assert not Path(f"/proc/{helper}").exists()
