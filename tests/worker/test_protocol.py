"""Frames: what is sent is what arrives, whole, and nothing else is believed."""

from __future__ import annotations

import json
import math
import os
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker import protocol
from worker.protocol import MAX_FRAME, Decoder, Frame, FrameWriter, ProtocolError, decode, encode

DIGEST = "ab" * 32
FRAMES: list[Frame] = [
    protocol.PhaseStarted(phase="distilling", total=None),
    protocol.Progress(done=3, total=10),
    protocol.Metrics(step=3, wall_ms=1, values={"loss": 0.1, "cmi": 1e-300}),
    protocol.Snapshot(step=3, name="0000000003.png"),
    protocol.CheckpointSaved(step=3, name="0000000003-ab.safetensors", sha256=DIGEST),
    protocol.Resumed(step=3, exact=True),
    protocol.Log(level="warning", message="größer als erwartet"),
    protocol.Done(steps=10, finalized=False, results={"accuracy": None}),
    protocol.Failed(code="data_error", message="row 7", retryable=False),
]


@pytest.mark.parametrize("frame", FRAMES, ids=lambda frame: frame.type)
def test_a_frame_survives_the_pipe(frame: Frame) -> None:
    assert list(Decoder().feed(encode(frame))) == [frame]


def test_values_that_are_not_finite_are_spelled_out() -> None:
    values = {"a": math.nan, "b": math.inf, "c": -math.inf}
    data = encode(protocol.Metrics(step=0, wall_ms=0, values=values))
    body = json.loads(data[4:], parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert body["values"] == {"a": "NaN", "b": "Infinity", "c": "-Infinity"}
    (frame,) = Decoder().feed(data)
    assert isinstance(frame, protocol.Metrics)
    assert math.isnan(frame.values["a"])
    assert (frame.values["b"], frame.values["c"]) == (math.inf, -math.inf)


@given(st.lists(st.integers(1, 40), min_size=1, max_size=80))
def test_pieces_of_any_size_make_the_same_frames(sizes: list[int]) -> None:
    data = b"".join(map(encode, FRAMES))
    found: list[Frame] = []
    decoder, at = Decoder(), 0
    while at < len(data):
        size = sizes[len(found) % len(sizes)]
        found += decoder.feed(data[at : at + size])
        at += size
    decoder.close()
    assert found == FRAMES


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"type":"nonsense"}',
        b'{"type":"progress","done":-1,"total":1}',
        b'{"type":"progress","done":1,"total":1,"more":1}',
        b'{"type":"snapshot","step":1,"name":"../../etc/passwd"}',
        b'{"type":"checkpoint","step":1,"name":"a/b","sha256":"' + DIGEST.encode() + b'"}',
        b'{"type":"checkpoint","step":1,"name":"a","sha256":"AB"}',
        b"\xff\xfe",
    ],
)
def test_what_is_no_frame_is_refused(body: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode(body)


def test_an_announced_length_over_the_limit_is_refused_before_it_is_read() -> None:
    with pytest.raises(ProtocolError, match="the limit is"):
        list(Decoder().feed((MAX_FRAME + 1).to_bytes(4, "big")))


def test_a_frame_over_the_limit_is_not_sent() -> None:
    with pytest.raises(ProtocolError, match="over the limit"):
        encode(protocol.Log(level="info", message="x" * MAX_FRAME))


def test_text_is_made_fit_for_every_database() -> None:
    frame = protocol.Log(level="info", message="a\0b \udcff größer")
    assert frame.message == "a?b ? größer"
    assert list(Decoder().feed(encode(frame))) == [frame]


def test_a_stream_that_ends_inside_a_frame_says_so() -> None:
    decoder = Decoder()
    assert list(decoder.feed(encode(FRAMES[0])[:-1])) == []
    with pytest.raises(ProtocolError, match="ended inside a frame"):
        decoder.close()


def test_frames_of_several_threads_do_not_mix() -> None:
    reading, writing = os.pipe()
    writer = FrameWriter(writing)
    message = "x" * 50_000  # more than a pipe holds at once, so that writes are partial

    def send(number: int) -> None:
        for _ in range(20):
            writer.send(protocol.Log(level="info", message=f"{number}{message}"))

    threads = [threading.Thread(target=send, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    found: list[Frame] = []
    decoder = Decoder()
    with os.fdopen(reading, "rb", buffering=0) as pipe:
        while len(found) < 80:
            found += decoder.feed(pipe.read(1 << 16))
    for thread in threads:
        thread.join()
    os.close(writing)
    assert sorted(frame.message[0] for frame in found if isinstance(frame, protocol.Log)) == sorted("0123" * 20)


def test_a_reader_that_is_gone_is_noticed() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with pytest.raises(BrokenPipeError):
        FrameWriter(writing).send(FRAMES[0])
    os.close(writing)
