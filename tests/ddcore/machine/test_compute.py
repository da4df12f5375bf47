"""What is asked for becomes what the machine can do, and a note where that is less."""

from __future__ import annotations

import ctypes
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
import torch.nn.functional as F
from torch._inductor import codecache

from ddcore.errors import ConfigurationError
from ddcore.machine import compute
from ddcore.machine.compute import CONVNET3_MACS, Compute, laid_out
from ddcore.spec.speed import EAGER_MACS_PER_S, OWN_KERNELS_S, WARM_UP_S

CPU = torch.device("cpu")
LONG = 2 * WARM_UP_S * EAGER_MACS_PER_S["cpu"] / CONVNET3_MACS
SHORT = LONG / 4


class Notes(list[tuple[str, str]]):
    def __call__(self, level: Literal["info", "warning"], message: str) -> None:
        self.append((level, message))


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A CPU machine with bfloat16 arithmetic and everything that compilation needs."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    monkeypatch.setattr(compute, "missing_compiler", lambda device: None)
    return monkeypatch


def choose(**request: Any) -> tuple[Compute, Notes]:
    notes = Notes()
    arguments: dict[str, Any] = {"device": "auto", "expected_images_forwarded": LONG, "log": notes, **request}
    return Compute.choose(**arguments), notes


@pytest.mark.usefixtures("machine")
def test_long_jobs_are_compiled_in_bfloat16_without_a_word() -> None:
    assert choose() == (Compute(CPU, "bf16", True, 32, 64), [])


@pytest.mark.usefixtures("machine")
def test_short_jobs_run_eagerly_in_float32_and_say_so_once() -> None:
    chosen, notes = choose(expected_images_forwarded=SHORT)
    assert (chosen.precision, chosen.compiled) == ("fp32", False)
    assert [level for level, _ in notes] == ["info"]
    assert "30 s" in notes[0][1]


@pytest.mark.usefixtures("machine")
def test_work_is_images_times_their_cost() -> None:
    assert not choose(macs_per_image=CONVNET3_MACS / 4)[0].compiled
    assert choose(expected_images_forwarded=SHORT, macs_per_image=CONVNET3_MACS * 4)[0].compiled


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize(("request_", "expected"), [("on", True), ("off", False)])
def test_compilation_asked_for_or_refused_overrules_the_estimate(request_: str, expected: bool) -> None:
    images = SHORT if expected else LONG
    assert choose(compile=request_, expected_images_forwarded=images)[0].compiled is expected


@pytest.mark.parametrize("request_", ["auto", "on"])
def test_without_a_compiler_passes_are_eager_and_the_reason_is_given(
    request_: str, machine: pytest.MonkeyPatch
) -> None:
    machine.setattr(compute, "missing_compiler", lambda device: "there is no C++ compiler (`g++`)")
    chosen, notes = choose(compile=request_)
    assert (chosen.precision, chosen.compiled) == ("fp32", False)
    assert notes == [("warning", "network passes run eagerly and slower, because there is no C++ compiler (`g++`)")]


def test_bfloat16_is_chosen_only_where_the_processor_computes_in_it(machine: pytest.MonkeyPatch) -> None:
    machine.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True})
    assert choose()[0].precision == "fp32"
    chosen, notes = choose(precision="bf16")
    assert chosen.precision == "bf16"
    assert "does not compute in it" in notes[0][1]
    machine.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": True})
    assert choose()[0].precision == "bf16"


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("mode", ["on", "off"])
def test_a_named_precision_is_kept_in_every_mode(precision: str, mode: str) -> None:
    assert choose(precision=precision, compile=mode)[0].precision == precision


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize("device", ["cuda", "cuda:3"])
def test_a_device_that_is_not_there_is_refused(device: str) -> None:
    with pytest.raises(ConfigurationError, match=f"`device` is '{device}', but this machine has 0 usable CUDA"):
        choose(device=device)


def test_device_numbers_are_checked(machine: pytest.MonkeyPatch) -> None:
    machine.setattr(torch.cuda, "is_available", lambda: True)
    machine.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ConfigurationError, match="this machine has 2 usable CUDA devices"):
        choose(device="cuda:2")
    assert choose(device="cpu")[0].device == CPU


@pytest.mark.parametrize(("capability", "expected"), [((7, 5), False), ((8, 0), True), ((9, 0), True)])
def test_bfloat16_of_cuda_devices(capability: tuple[int, int], expected: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert compute.computes_bf16(torch.device("cuda")) is expected


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("channels", [1, 3])
def test_maps_lie_as_the_images_are_laid_out(channels: int, dtype: torch.dtype) -> None:
    images = torch.randn(4, channels, 6, 6, dtype=dtype)
    laid = laid_out(images, torch.channels_last)
    assert torch.equal(laid, images)
    weight = torch.randn(8, channels, 3, 3, dtype=dtype)
    assert F.conv2d(laid, weight).is_contiguous(memory_format=torch.channels_last)
    assert F.conv2d(laid_out(images, torch.contiguous_format), weight).is_contiguous()


def test_images_that_lie_right_are_not_copied() -> None:
    grey = torch.randn(4, 1, 6, 6)
    assert laid_out(grey, torch.channels_last).data_ptr() == grey.data_ptr()
    assert laid_out(grey, torch.contiguous_format) is grey


def test_compiled_code_is_kept_in_the_cache_folder(machine: pytest.MonkeyPatch, tmp_path: Path) -> None:
    machine.setenv("TORCHINDUCTOR_CACHE_DIR", "elsewhere")
    machine.setattr(codecache, "_HEADER_DIR", "elsewhere")
    machine.setattr(codecache, "_HEADER_LOCK_DIR", "elsewhere")
    choose(cache=tmp_path, compile="off")
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == "elsewhere"
    choose(cache=tmp_path)
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(tmp_path / "inductor")


@pytest.mark.parametrize(("macs", "own"), [(EAGER_MACS_PER_S["cpu"] * OWN_KERNELS_S, True), (1e9, False)])
def test_only_longer_uncompiled_work_is_worth_our_own_kernels(
    machine: pytest.MonkeyPatch, macs: float, own: bool
) -> None:
    plain = Compute(CPU, "bf16", compiled=True).exact(macs)
    assert (plain.precision, plain.compiled, plain.own_kernels) == ("fp32", False, own)
    work = {"expected_images_forwarded": 1, "macs_per_image": macs}
    chosen, _ = choose(**work)
    assert (chosen.compiled, chosen.own_kernels, chosen.describe()["own_kernels"]) == (False, own, own)
    assert not choose(compile="off", **work)[0].own_kernels
    machine.setattr(compute, "missing_compiler", lambda device: "there is none")
    assert not Compute(CPU).exact(macs).own_kernels
    assert not choose(**work)[0].own_kernels


def test_our_own_kernels_are_for_cpus() -> None:
    assert Compute(CPU, compiled=True).own_kernels
    assert not Compute(torch.device("cuda"), compiled=True, fused=True).own_kernels


def test_notes_go_to_a_logger_where_nobody_listens(
    machine: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="ddcore.machine.compute"):
        Compute.choose(expected_images_forwarded=SHORT)
    assert [record.levelname for record in caplog.records] == ["INFO"]


@pytest.mark.parametrize(
    ("pixels", "without_gradients", "with_gradients"),
    [(32 * 32, 32, 64), (8 * 8, 512, 1024), (28 * 28, 32, 64), (64 * 64, 8, 16), (224 * 224, 8, 8)],
)
def test_pieces_hold_about_as_many_pixels_whatever_the_image_size(
    pixels: int, without_gradients: int, with_gradients: int
) -> None:
    chosen = Compute(CPU, piece=32, training_piece=64)
    assert chosen.piece_for(pixels, training=False) == without_gradients
    assert chosen.piece_for(pixels, training=True) == with_gradients


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="the C library has no mallopt")
def test_freed_memory_is_held_for_the_next_block_of_its_size() -> None:
    """In a process of its own: where other tests have held memory before, none is returned any more."""
    program = """
import resource, torch
from ddcore.machine import compute

def page_faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        torch.ones(2**23 + 2**12)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

assert compute.hold_freed_memory(2**25)
returned = page_faults()
assert compute.hold_freed_memory()
page_faults()
# The system may take pages of an idle block away at any moment, and gives them back with a fault.
print(returned, min(page_faults() for _ in range(3)))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    returned, held = map(int, done.stdout.split())
    assert held < returned / 10, "after the heap has grown to what is needed"


def test_a_c_library_without_the_setting_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    assert not compute.hold_freed_memory()


def test_autocast_concerns_the_inside_of_a_pass() -> None:
    x = torch.ones(2, 2)
    with Compute(CPU, "bf16").autocast():
        assert (x @ x).dtype == torch.bfloat16
    with Compute(CPU, "fp32").autocast():
        assert (x @ x).dtype == torch.float32


def test_description_for_the_manifest() -> None:
    assert Compute(CPU, "bf16", True).describe() == {
        "device": "cpu",
        "precision": "bf16",
        "compiled": True,
        "own_kernels": True,
        "threads": torch.get_num_threads(),
    }
