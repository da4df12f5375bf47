"""What an estimate rests on, in words."""

from __future__ import annotations

from app.costs.prediction import SPREADS
from app.costs.spans import Prediction
from ddcore.spec import DATASETS, JobSpec

NAMES = {"cpu": "CPU", "cuda": "GPU"}
UNMEASURED = (
    "image passes (forward 1, backward 2) times the convolutions of the network, at 80 to 800 GFLOP/s on a CPU, "
    "80 where they are not compiled, and 5 to 100 TFLOP/s on an accelerator; overheads and compilation are not counted"
)


def basis(spec: JobSpec, device_class: str, predicted: Prediction) -> str:
    """One sentence on where the seconds of a kind of device come from."""
    if not predicted.calibrated:
        return UNMEASURED
    parts = [f"from {_jobs(spec, predicted)} on this {NAMES[device_class]} ({predicted.devices[0]})"]
    if predicted.cached:
        parts.append(
            "networks that earlier jobs trained are expected in the cache, so only `high` counts their training"
        )
    if predicted.phases["pretraining"].expected:
        parts.append("networks are trained first, which the cache then keeps")
    return "; ".join(parts)


def time(seconds: float) -> str:
    """A length of time for a reader.

    >>> time(4.2), time(75), time(8000), time(4e5)
    ('4.2 s', '1.2 min', '2.2 h', '4.6 d')
    """
    for unit, length, most in (("s", 1, 60), ("min", 60, 60), ("h", 3600, 48)):
        if seconds < most * length:
            return f"{seconds / length:.2g} {unit}"
    return f"{seconds / 86_400:,.1f} d"


def exact(seconds: float) -> str:
    """A length of time in seconds, and in a larger unit where that helps.

    >>> exact(53), exact(126_434)
    ('53 s', '126,434 s (35 h)')
    """
    return f"{seconds:,.0f} s" if seconds < 60 else f"{seconds:,.0f} s ({time(seconds)})"


def _jobs(spec: JobSpec, predicted: Prediction) -> str:
    """Which jobs tell how long the longest phase takes."""
    span = predicted.phases[predicted.main]
    count = "1 job" if span.jobs == 1 else f"{span.jobs} jobs"
    if span.level is None:
        return "a rough speed: no job with such work was measured"
    if span.level >= len(SPREADS):
        return f"{count} of other kinds, scaled by operations: a rough figure"
    if span.level > 0:
        return f"{count} like it, of the same network and images of this size, scaled by operations"
    data = spec.dataset if spec.dataset in DATASETS else "images of this size"
    terms = "".join(f" + {term.name}" for term in spec.regularizers)
    same = {"evaluating": "scored in the same way", "pretraining": "with the same networks to train"}
    return f"{count} {same.get(predicted.main, f'of {spec.method.name}{terms}')} on {data}"
