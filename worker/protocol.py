"""What the engine process tells its supervisor: JSON frames on a pipe, each after its length.

A frame is four bytes, the length of the body as a big-endian unsigned integer, then the body, one JSON
object whose ``type`` names one of the classes below. JSON has no NaN and no infinities, so readings that
are not finite travel as the strings ``"NaN"``, ``"Infinity"`` and ``"-Infinity"``.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError

from ddcore.runtime.callback import Phase
from ddcore.spec.results import Results
from ddcore.spec.workload import Usage, Workload

IngestPhase = Literal["reading", "decoding"]
"""Of a job that takes a set in: its files are unpacked and understood, then its images are decoded."""

HEADER = 4
"""Bytes of the length."""
MAX_FRAME = 1 << 20
"""Longest body in bytes; files travel by name."""
FILE_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,199}$"
"""A name inside the run folder, never a path."""

HOLD_AT = "hold_at"
"""In the run folder of a job that is to be held: file with the number of steps, in decimal."""
UPLOAD, SHELF, SAMPLES = "upload", "shelf", "samples.png"
"""In the run folder of a job that takes a set in: folder of the upload, folder of the set, picture beside the set.
The first is in that of a score, too."""
PARENT = "parent"
"""In the run folder of a job that extends another one: folder of that one's bundle."""
READ = "read"
"""In the run folder of a score: folder of the set as plain tensors."""
FACTS = "facts.json"
"""In the run folder of a look at the data root: what the files hold."""

EXIT_DONE = 0
EXIT_FAILED = 1
EXIT_PREEMPTED = 75
EXIT_OUT_OF_MEMORY = 76
EXIT_BAD_SPEC = 77
EXIT_DATA_ERROR = 78


class ProtocolError(Exception):
    """The stream of frames is broken and cannot be read further."""


def _storable(value: object) -> object:
    """Text that every database takes: without NUL and without halves of surrogate pairs, as file names may hold."""
    return value.encode("utf-8", "replace").decode().replace("\0", "?") if isinstance(value, str) else value


Text = Annotated[str, BeforeValidator(_storable)]


class _Frame(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


class PhaseStarted(_Frame):
    """A phase of the run begins; ``total`` counts its units of work where they are known."""

    type: Literal["phase"] = "phase"
    phase: Phase | IngestPhase
    total: int | None = Field(ge=0)


class Planned(_Frame):
    """The dataset is there: what the run is about to do."""

    type: Literal["planned"] = "planned"
    workload: Workload


class Progress(_Frame):
    """``done`` of ``total`` units of the current phase are finished."""

    type: Literal["progress"] = "progress"
    done: int = Field(ge=0)
    total: int = Field(ge=0)


class Metrics(_Frame):
    """Readings after ``step`` steps, taken at ``wall_ms`` milliseconds since 1970."""

    type: Literal["metrics"] = "metrics"
    step: int = Field(ge=0)
    wall_ms: int = Field(ge=0)
    values: dict[str, float]


class Snapshot(_Frame):
    """A picture of the synthetic set, written to ``snapshots/<name>`` of the run folder."""

    type: Literal["snapshot"] = "snapshot"
    step: int = Field(ge=0)
    name: str = Field(pattern=FILE_NAME)


class CheckpointSaved(_Frame):
    """The state after ``step`` steps is on disk as ``checkpoints/<name>``, with this digest."""

    type: Literal["checkpoint"] = "checkpoint"
    step: int = Field(ge=0)
    name: str = Field(pattern=FILE_NAME)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class Resumed(_Frame):
    """The run goes on after ``step`` steps; ``exact`` promises the bytes of an undisturbed run."""

    type: Literal["resumed"] = "resumed"
    step: int = Field(ge=0)
    exact: bool


class Log(_Frame):
    """A remark for the user."""

    type: Literal["log"] = "log"
    level: Literal["info", "warning"]
    message: Text


class Done(_Frame):
    """The bundle is complete; ``finalized`` says that the run was cut short on request."""

    type: Literal["done"] = "done"
    steps: int = Field(ge=0)
    finalized: bool
    results: Results
    usage: Usage | None = None
    """What the run took; nothing where it was cut short, or went on from a checkpoint."""


class TakenIn(_Frame):
    """A user's own images are a set now, in ``shelf/<identity>`` of the run folder."""

    type: Literal["taken_in"] = "taken_in"
    identity: str = Field(pattern=r"^ds_[0-9a-f]{20}$")


class Scored(_Frame):
    """A set that others made is scored; ``spec`` is the job that scores alike."""

    type: Literal["scored"] = "scored"
    results: Results
    spec: dict[str, Any]


class Held(_Frame):
    """The run stopped where it was to be held; its last checkpoint is of that step."""

    type: Literal["held"] = "held"
    step: int = Field(ge=0)


class Failed(_Frame):
    """The run ended without a result; ``message`` is for the user."""

    type: Literal["failed"] = "failed"
    code: Text
    message: Text
    retryable: bool


_OnTheWay = PhaseStarted | Planned | Progress | Metrics | Snapshot | CheckpointSaved | Resumed | Log
Finish = Done | TakenIn | Scored
"""Frames that say that what was asked for is there."""
Last = Finish | Held | Failed
"""Frames after which none comes."""
Frame = _OnTheWay | Last

_ADAPTER: TypeAdapter[Frame] = TypeAdapter(Annotated[Frame, Field(discriminator="type")])


def encode(frame: Frame) -> bytes:
    r"""A frame as bytes, its length first.

    Raises:
        ProtocolError: the body is longer than ``MAX_FRAME``.

    >>> encode(Log(level="info", message="hi"))
    b'\x00\x00\x00,{"type":"log","level":"info","message":"hi"}'
    """
    body = frame.model_dump_json().encode()
    if len(body) > MAX_FRAME:
        raise ProtocolError(f"a {frame.type} frame of {len(body)} bytes is over the limit of {MAX_FRAME}")
    return len(body).to_bytes(HEADER, "big") + body


def decode(body: bytes) -> Frame:
    """The frame with this body.

    Raises:
        ProtocolError: it is no frame.
    """
    try:
        return _ADAPTER.validate_json(body)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        raise ProtocolError(f"frame {body[:80]!r}…: {fault['msg']} at {'.'.join(map(str, fault['loc']))}") from error


class Decoder:
    """Cuts a stream of bytes, arriving in pieces of any size, into frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Take in some bytes and yield the frames that are complete by now.

        Raises:
            ProtocolError: a length over the limit, or a body that is no frame.
        """
        self._buffer += data
        while len(self._buffer) >= HEADER:
            length = int.from_bytes(self._buffer[:HEADER], "big")
            if length > MAX_FRAME:
                raise ProtocolError(f"a frame of {length} bytes is announced; the limit is {MAX_FRAME}")
            if len(self._buffer) < HEADER + length:
                return
            body = bytes(self._buffer[HEADER : HEADER + length])
            del self._buffer[: HEADER + length]
            yield decode(body)

    def close(self) -> None:
        """The stream is over.

        Raises:
            ProtocolError: in the middle of a frame.
        """
        if self._buffer:
            raise ProtocolError(f"the stream ended inside a frame, after {len(self._buffer)} bytes of it")


class FrameWriter:
    """Sends frames on a pipe, from any thread, each whole.

    Args:
        descriptor: the writing end of the pipe, blocking.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._lock = threading.Lock()

    def send(self, frame: Frame) -> None:
        """Write a frame, waiting for the reader where the pipe is full.

        Raises:
            BrokenPipeError: nobody reads any more.
            ProtocolError: the frame is too long.
        """
        data = memoryview(encode(frame))
        with self._lock:
            while data:
                data = data[os.write(self.descriptor, data) :]
