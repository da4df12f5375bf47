"""How two ways of doing the same work are compared.

Both run in turn, round after round, in one process, so that what slows the machine down slows both;
what counts is the median of the rounds' ratios, not a time. Results are checked for equality first.
The reference runs with the memory allocator as a process finds it, the other ways as ours sets it.
"""

from __future__ import annotations

import ctypes
import json
import platform
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean, median, stdev
from typing import Any, TypeVar

import torch
from torch import Tensor

from ddcore.machine.compute import Compute, Precision, hold_freed_memory
from ddcore.version import __version__

RESULTS = Path(__file__).parent / "results"

T = TypeVar("T")

Work = Callable[[], Sequence[Tensor]]
"""Does what is measured once, and returns what the other ways must return too."""

USUAL_LIMIT = 2**25
"""Above so many bytes, the C library by itself returns freed blocks to the system."""

_CLEAR_PEAK = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")


@dataclass(frozen=True)
class Way:
    """One way of doing the work.

    Attributes:
        name: what the table calls it.
        work: does it once and returns what the others must return too; called once before the first
            round, so that compilation does not count.
    """

    name: str
    work: Work


@dataclass(frozen=True)
class Measurement:
    """What a way took.

    Attributes:
        name: of the way.
        seconds: of each round.
        ratios: seconds of the reference divided by these, round by round.
        peak_mib: resident memory that it adds at its peak, in MiB; 0 where the system does not tell.
        difference: largest difference from one of the reference's results, relative to the largest value of that.
        cosine: smallest cosine between one of its results and the reference's.
        number: what it returned, where that is a single number, such as a size in memory.
        numbers: what it came to in each round, where that differs, such as an accuracy.
    """

    name: str
    seconds: list[float] = field(default_factory=list)
    ratios: list[float] = field(default_factory=list)
    peak_mib: float = 0.0
    difference: float = 0.0
    cosine: float = 1.0
    number: float | None = None
    numbers: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Benchmark:
    """A comparison: the first way is the reference.

    Attributes:
        name: of the command and of the result file.
        title: what is measured, in words.
        ways: builds the ways; called once.
        target: ratio that the last way should reach, where one is demanded.
        timed: whether time matters; otherwise each way does its work once, for what it returns.
        measured: does all of so many rounds itself, for work that is not the same in every round.
    """

    name: str
    title: str
    ways: Callable[[], Sequence[Way]]
    target: float | None = None
    timed: bool = True
    measured: Callable[[int], list[Measurement]] | None = None


def policy(precision: Precision, *, compiled: bool) -> Compute:
    """The best device there is, at a precision; compiled, if asked for, however short the work is."""
    return Compute.choose(
        precision=precision, compile="on" if compiled else "off", expected_images_forwarded=float("inf")
    )


def engine_ways(
    name: str,
    reference: Callable[[Compute], Work],
    ours: Callable[[Compute], Work],
    precision: Precision,
) -> Sequence[Way]:
    """A reference loop, and the engine that does the same work: eager, and compiled at a precision.

    Args:
        name: of the reference in the table.
        reference: builds the loop; its policy is that of the eager engine.
        ours: builds the engine's work for a policy.
        precision: of the compiled engine.
    """
    eager = policy("fp32", compiled=False)
    return [
        Way(f"{name}, eager fp32", reference(eager)),
        Way("engine, eager fp32", ours(eager)),
        Way(f"engine, compiled {precision}", ours(policy(precision, compiled=True))),
    ]


def vector(tensors: Iterable[Tensor]) -> Tensor:
    """All weights of a network, or their gradients, as one result.

    By itself a bias before a normalisation, say, would be compared with nothing but rounding: its gradient is zero.
    """
    return torch.cat([tensor.detach().flatten() for tensor in tensors])


def measure(benchmark: Benchmark, rounds: int) -> list[Measurement]:
    """One measurement for each way, in order; without ``rounds`` where time does not matter."""
    if benchmark.measured is not None:
        return benchmark.measured(rounds)
    return compare(benchmark.ways(), rounds if benchmark.timed else 0)


def compare(ways: Sequence[Way], rounds: int) -> list[Measurement]:
    """Run all ways in turn, ``rounds`` times.

    Each turn does the work twice and times the second, since the other ways have emptied the caches.

    Args:
        ways: the reference first.
        rounds: how many; with none, neither time nor memory is measured, and each way does its work once.

    Returns:
        One measurement a way, in the same order.
    """
    outputs = [way.work() for way in ways]
    measurements = []
    for way, output in zip(ways, outputs, strict=True):
        difference, cosine = _agreement(outputs[0], output)
        _set_allocator(way is ways[0])
        peak = peak_mib(way.work)[1] if rounds else 0.0
        measurements.append(Measurement(way.name, [], [], peak, difference, cosine, _only_number(output)))
    for _ in range(rounds):
        for way, measurement in zip(ways, measurements, strict=True):
            _set_allocator(way is ways[0])
            way.work()
            measurement.seconds.append(seconds(way.work))
            measurement.ratios.append(measurements[0].seconds[-1] / measurement.seconds[-1])
    return measurements


def table(benchmark: Benchmark, measurements: Sequence[Measurement]) -> str:
    """The measurements as lines of text."""
    lines = [benchmark.title]
    for m in measurements:
        took = number = ""
        if m.seconds:
            took = (
                f"{median(m.seconds):9.4f} s   {median(m.ratios):6.2f} x "
                f"({min(m.ratios):.2f} to {max(m.ratios):.2f})   {m.peak_mib:7.0f} MiB   "
            )
        elif m.number is not None:
            number = f"{m.number:9.4g}   "
        agreement = f"difference {m.difference:.1e}, cosine {m.cosine:.6f}"
        if m.numbers:
            spread = f" ± {stdev(m.numbers):.2f}" if len(m.numbers) > 1 else ""
            agreement = f"{fmean(m.numbers):.2f}{spread} ({', '.join(f'{value:.2f}' for value in m.numbers)})"
        lines.append(f"  {m.name:<44}{took}{number}{agreement}")
    if benchmark.target is not None:
        reached = median(measurements[-1].ratios)
        verdict = "reached" if reached >= benchmark.target else "missed"
        lines.append(f"  target {benchmark.target:.3g} x: {verdict}")
    return "\n".join(lines)


def store(benchmark: Benchmark, measurements: Sequence[Measurement], folder: Path = RESULTS) -> Path:
    """Write the measurements with machine, versions and date, and return the file."""
    document: dict[str, Any] = {
        "benchmark": benchmark.name,
        "title": benchmark.title,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {**machine(), "gflops": {"fp32": gflops(torch.float32), "bf16": gflops(torch.bfloat16)}},
        "target": benchmark.target,
        "ways": [{"median_ratio": median(m.ratios) if m.ratios else None, **asdict(m)} for m in measurements],
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{benchmark.name}.json"
    path.write_text(json.dumps(document, indent=1) + "\n")
    return path


def peak_mib(work: Callable[[], T]) -> tuple[T, float]:
    """Do the work: its result, and the resident memory in MiB that it adds at its peak; 0 where no system tells."""
    if not _CLEAR_PEAK.exists():
        return work(), 0.0
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if malloc_trim is not None:
        malloc_trim(0)
    _CLEAR_PEAK.write_text("5")
    before = _status_mib("VmRSS")
    result = work()
    return result, _status_mib("VmHWM") - before


def peak_bytes(work: Callable[[], object]) -> int:
    """Largest sum of tensor memory that ``work`` holds at a time."""
    with torch.profiler.profile(profile_memory=True) as profile:
        work()
    held = peak = 0
    events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak


def machine() -> Mapping[str, Any]:
    """What the numbers depend on besides the code."""
    cuda = torch.cuda.is_available()
    return {
        "processor": torch.cpu.get_capabilities().get("cpu_name", platform.machine()),
        "threads": torch.get_num_threads(),
        "accelerator": torch.cuda.get_device_name() if cuda else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "ddservice": __version__,
    }


def gflops(dtype: torch.dtype, rounds: int = 5) -> float:
    """Billions of operations a second in a large matrix product: about what arithmetic in a type allows at most.

    The product is as large as it can be in a tenth of a second, up to 2,048 rows on a CPU: where a processor has no
    instructions for a type, one of that size takes a minute.
    """
    device, largest = ("cuda", 8192) if torch.cuda.is_available() else ("cpu", 2048)

    def product(size: int) -> float:
        matrix = torch.ones((size, size), dtype=dtype, device=device)
        return seconds(lambda: matrix @ matrix)

    size = largest // 16
    while size < largest and min(product(size) for _ in range(2)) < 0.1 / 8:
        size *= 2
    return 2 * size**3 / median(product(size) for _ in range(rounds)) / 1e9


def _only_number(output: Sequence[Tensor]) -> float | None:
    return output[0].item() if len(output) == 1 and output[0].numel() == 1 else None


def _agreement(reference: Sequence[Tensor], output: Sequence[Tensor]) -> tuple[float, float]:
    """Largest difference of a tensor relative to its largest value, and smallest cosine; a loss hides no slope."""
    if [tensor.shape for tensor in reference] != [tensor.shape for tensor in output]:
        raise ValueError(f"ways return different things: {len(reference)} and {len(output)} tensors, or other shapes")
    pairs = [
        (a.detach().double().flatten(), b.detach().double().flatten()) for a, b in zip(reference, output, strict=True)
    ]
    difference = max(float((a - b).abs().max() / a.abs().max()) for a, b in pairs)
    return difference, min(float(torch.nn.functional.cosine_similarity(a, b, dim=0)) for a, b in pairs)


def _set_allocator(reference: bool) -> None:
    if reference:
        hold_freed_memory(USUAL_LIMIT)
    else:
        hold_freed_memory()


def seconds(work: Callable[[], object]) -> float:
    """Seconds that work takes, on an accelerator as well."""
    start = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


def _status_mib(key: str) -> float:
    lines = dict(line.split(":", 1) for line in _STATUS.read_text().splitlines())
    return int(lines[key].split()[0]) / 1024
