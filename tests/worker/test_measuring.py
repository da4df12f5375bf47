"""What the engine's process measures of itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from worker.measuring import PhaseClock, machine, processor


class Hands:
    """A clock that is set."""

    def __init__(self) -> None:
        self.at = 0.0

    def __call__(self) -> float:
        return self.at


def test_seconds_add_up_and_the_first_unit_shows_its_warm_up() -> None:
    now = Hands()
    clock = PhaseClock(now)
    clock.enter("loading")
    now.at = 2.0
    clock.enter("distilling")
    clock.advance(0, 10)
    for done, at in ((1, 12.0), (2, 13.0), (3, 14.0), (10, 21.0)):
        now.at = at
        clock.advance(done, 10)
    clock.enter("pretraining")
    now.at = 24.0
    clock.enter("distilling")
    now.at = 30.0
    assert clock.read() == (
        {"loading": 2.0, "distilling": 19.0 + 6.0, "pretraining": 3.0},
        {"loading": 0.0, "distilling": 9.0, "pretraining": 0.0},
    )


def test_a_single_unit_has_nothing_to_compare_with() -> None:
    now = Hands()
    clock = PhaseClock(now)
    clock.enter("evaluating")
    now.at = 5.0
    clock.advance(1, 3)
    assert clock.read() == ({"evaluating": 5.0}, {"evaluating": 0.0})


def test_what_follows_the_training_of_networks_is_loading() -> None:
    now = Hands()
    clock = PhaseClock(now)
    for phase, at in (("loading", 1.0), ("pretraining", 6.0), ("pretraining", 9.0)):
        clock.enter(phase)
        now.at = at
        if phase == "pretraining":
            clock.advance(2, 2)
    now.at = 11.0
    clock.enter("distilling")
    assert clock.read()[0] == {"loading": 1.0 + 2.0, "pretraining": 5.0 + 3.0, "distilling": 0.0}


def test_the_machine_is_named_by_what_its_speed_depends_on(tmp_path: Path) -> None:
    listing = tmp_path / "cpuinfo"
    listing.write_text("processor : 0\nmodel name : Fast 9000\nmodel name : Fast 9000\n")
    assert processor(listing) == "Fast 9000"
    assert processor(tmp_path / "none")
    on_cpu = machine({"device": "cpu", "precision": "bf16", "compiled": True, "own_kernels": True, "threads": 3})
    assert (on_cpu.device_class, on_cpu.name) == ("cpu", f"{processor()}, 3 threads")
    on_gpu = machine(
        {"device": "NVIDIA H100", "precision": "bf16", "compiled": True, "own_kernels": True, "threads": 3}
    )
    assert (on_gpu.device_class, on_gpu.name) == ("cuda", "NVIDIA H100")


def test_memory_is_the_most_that_there_was() -> None:
    """In a process of its own: this one may have held more before."""
    script = (
        "from worker.measuring import memory_so_far\n"
        "before = memory_so_far()\n"
        "block = bytearray(200_000_000)\n"
        "block[::4096] = b'1' * len(block[::4096])\n"
        "del block\n"
        "print(before, memory_so_far())"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    before, after = map(int, done.stdout.split())
    assert after > before + 150_000_000 > 150_000_000
