"""An engine without mathematics: small steps, frequent checkpoints, a result that follows from the seed alone.

Run by the real worker through ``DD_ENGINE_MODULE``. Some seeds misbehave, see ``MISBEHAVIOUR``.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import signal
import struct
import sys
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path

from ddcore.runtime.callback import Stop
from worker import protocol
from worker.engine_guard import StopRequest, die_with_parent
from worker.faults import fault_point
from worker.protocol import FrameWriter

STEP_S = 0.02
CHECKPOINT_EVERY = 5
POISON_SEED = 666
HANG_SEED = 777
DEAF_SEED = 888
BAD_DATA_SEED = 999
MISBEHAVIOUR = {
    POISON_SEED: "kills itself at step 12 of every attempt",
    HANG_SEED: "hangs at step 12 of the first attempt that has no checkpoint of step 10",
    DEAF_SEED: "ignores SIGTERM",
    BAD_DATA_SEED: "cannot use its dataset",
}


def state_after(seed: int, steps: int) -> bytes:
    """The state of an undisturbed run after some steps."""
    state = hashlib.sha256(str(seed).encode()).digest()
    for step in range(steps):
        state = advance(state, step)
    return state


def advance(state: bytes, step: int) -> bytes:
    return hashlib.sha256(state + struct.pack(">q", step)).digest()


def score_after(seed: int, steps: int, ipc: int = 1) -> float:
    """Accuracy in percent that the state after some steps is said to have."""
    return 50 + 50 * state_after(seed, steps)[ipc % 32] / 255


def result_of(state: bytes) -> bytes:
    """A safetensors file with the state as its only tensor."""
    header = json.dumps({"images": {"dtype": "U8", "shape": [32], "data_offsets": [0, 32]}}).encode()
    return len(header).to_bytes(8, "little") + header + state


class Engine:
    def __init__(self, run_dir: Path, writer: FrameWriter, stop: StopRequest) -> None:
        self.run_dir, self.writer, self.stop = run_dir, writer, stop
        spec = json.loads((run_dir / "spec.json").read_text())
        self.seed, self.ipc, self.total = spec["seed"], spec["ipc"], spec["method"]["iterations"]
        during = (spec.get("evaluation") or {}).get("during") or {}
        self.looks = tuple(during.get("at") or ())
        hold_at = run_dir / protocol.HOLD_AT
        self.hold_at = int(hold_at.read_text()) if hold_at.exists() else None
        self.folder = run_dir / "checkpoints"
        self.step, self.state = 0, state_after(self.seed, 0)

    def run(self) -> int:
        self.writer.send(protocol.PhaseStarted(phase="loading", total=None))
        if self.seed == BAD_DATA_SEED:
            self.writer.send(protocol.Failed(code="data_error", message="row 7 is no image", retryable=False))
            return protocol.EXIT_DATA_ERROR
        self.resume()
        self.writer.send(protocol.PhaseStarted(phase="distilling", total=self.total))
        if self.step == 0:
            self.look()
        while self.step < (self.total if self.hold_at is None else min(self.hold_at, self.total)):
            self.misbehave()
            if self.stop.wish is Stop.CHECKPOINT and self.seed != DEAF_SEED:
                self.save()
                return protocol.EXIT_PREEMPTED
            if self.stop.wish is Stop.FINALIZE:
                return self.finish(finalized=True)
            self.take_step()
        if self.hold_at is not None:
            self.save()
            self.writer.send(protocol.Held(step=self.step))
            return protocol.EXIT_PREEMPTED
        return self.finish(finalized=False)

    def look(self) -> None:
        """Score the state where the job asks for that: an accuracy that follows from the seed and the step alone."""
        if self.step in self.looks:
            values = {
                "accuracy/validation": score_after(self.seed, self.step, self.ipc),
                "accuracy/validation/deviation": 0.5,
            }
            self.writer.send(protocol.Metrics(step=self.step, wall_ms=time.time_ns() // 10**6, values=values))

    def take_step(self) -> None:
        fault_point("engine.step")
        time.sleep(STEP_S)
        self.state = advance(self.state, self.step)
        self.step += 1
        loss = self.state[0] / 255
        self.writer.send(protocol.Metrics(step=self.step, wall_ms=time.time_ns() // 10**6, values={"loss": loss}))
        self.writer.send(protocol.Progress(done=self.step, total=self.total))
        self.look()
        if self.step % CHECKPOINT_EVERY == 0:
            self.save()

    def misbehave(self) -> None:
        if self.step != 12:
            return
        if self.seed == POISON_SEED:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.seed == HANG_SEED and not (self.run_dir / "resumed").exists():
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            time.sleep(600)

    def save(self) -> None:
        data = json.dumps({"step": self.step, "state": self.state.hex()}).encode()
        digest = hashlib.sha256(data).hexdigest()
        path = self.folder / f"{self.step:010d}-{digest}.safetensors"
        temporary = self.folder / ".temporary"
        temporary.write_bytes(data)
        fault_point("engine.checkpoint")
        temporary.replace(path)
        for old in sorted(self.folder.glob("*.safetensors"))[:-2]:
            old.unlink()
        self.writer.send(protocol.CheckpointSaved(step=self.step, name=path.name, sha256=digest))

    def resume(self) -> None:
        found = sorted(self.folder.glob("*.safetensors"))
        if not found:
            return
        saved = json.loads(found[-1].read_text())
        self.step, self.state = saved["step"], bytes.fromhex(saved["state"])
        (self.run_dir / "resumed").touch()
        self.writer.send(protocol.Resumed(step=self.step, exact=True))

    def finish(self, *, finalized: bool) -> int:
        fault_point("engine.finish")
        out = self.run_dir / "out"
        out.mkdir(exist_ok=True)
        (out / "distilled.safetensors").write_bytes(result_of(self.state))
        (out / "manifest.json").write_text(json.dumps({"seed": self.seed, "steps": self.step}))
        (out / "preview.png").write_bytes(b"\x89PNG\r\n\x1a\n")
        (self.run_dir / "distilled.npz").write_bytes(self.state)
        for name in ("bundle.zip", "image_folder.zip"):
            with zipfile.ZipFile(self.run_dir / name, "w") as archive:
                archive.write(out / "distilled.safetensors", "distilled.safetensors")
        results: dict[str, object] = {"accuracy": None, "controls": {}}
        self.writer.send(protocol.Done(steps=self.step, finalized=finalized, results=results))
        return protocol.EXIT_DONE


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--run-dir", type=Path, required=True)
    parser.add_argument("--pipe-fd", type=int, required=True)
    options = parser.parse_args(arguments)
    die_with_parent()
    stop = StopRequest()
    stop.listen()
    writer = FrameWriter(options.pipe_fd)
    try:
        return Engine(options.run_dir, writer, stop).run()
    except BrokenPipeError:
        return protocol.EXIT_FAILED
    except OSError as error:
        from worker.child import report  # takes longer than all the rest of this engine

        code, failed = report(error)
        writer.send(failed)
        return code


if __name__ == "__main__":
    sys.exit(main())
