"""What an estimate rests on, in words."""

from __future__ import annotations

from app.costs.prediction import Prediction
from ddcore.spec import DATASETS, JobSpec

NAMES = {"cpu": "CPU", "cuda": "GPU"}
UNMEASURED = (
    "image passes (forward 1, backward 2) times the convolutions of the network, at 80 to 800 GFLOP/s on a CPU "
    "and 5 to 100 TFLOP/s on an accelerator; overheads and compilation are not counted"
)


def basis(spec: JobSpec, device_class: str, predicted: Prediction) -> str:
    """One sentence on where the seconds of a kind of device come from.

    >>> basis(None, "cuda", Prediction({}, False, 0, ())) == UNMEASURED  # no job was measured
    True
    """
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


def _jobs(spec: JobSpec, predicted: Prediction) -> str:
    main = predicted.main
    count = "1 job" if main.jobs == 1 else f"{main.jobs} jobs"
    data = spec.dataset if spec.dataset in DATASETS else "images of this size"
    terms = "".join(f" + {term.name}" for term in spec.regularizers)
    if main.level is None:
        return "a rough speed: no job with such work was measured"
    if main.level == 0:
        return f"{count} of {spec.method.name}{terms} on {data}"
    if main.level <= 2:
        return f"{count} like it, of the same network and images of this size, scaled by operations"
    return f"{count} of other kinds, scaled by operations: a rough figure"
