"""What every registered method and regulariser promises, each with each.

A new method or regulariser is covered by registering its configuration; nothing here is edited. Network passes run
as they are; ``DD_TEST_COMPILE=on`` has them compiled: six minutes on two cores with ``-n 2 -k in_bf16``.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from pydantic import Field
from safetensors.torch import load_file

from ddcore import engine
from ddcore.errors import Interrupted
from ddcore.machine.compute import missing_compiler
from ddcore.methods.dm import DM
from ddcore.registry import _IMPLEMENTATIONS, implements
from ddcore.runtime.objective import Readings
from ddcore.spec import METHODS, REGULARIZERS, DMConfig, JobSpec, SpecError, method_config, parse

pytestmark = pytest.mark.filterwarnings("default:The .grad attribute of a Tensor")  # the compiler looks at it
STEPS = 6


def job(method: str, /, *regularizers: str, **fields: Any) -> dict[str, Any]:
    """A specification small enough for a test; sizes are cut wherever the configuration has them."""
    known = METHODS[method].model_fields
    iterations = 0 if any(getattr(m, "le", None) == 0 for m in known["iterations"].metadata) else STEPS
    small = {
        "iterations": iterations,
        "batch_real": 8,
        "window": 3,
        "query_images": 16,
        "max_image_steps": 4,
        "max_network_epochs": 4,
        "inner_loop": 4,
    }
    small |= {"queue_size": 4, "grow_every": 1, "network_steps": 2, "eval_interval": 4}
    small |= {"steps_per_network": 4, "train_images": 32, "batch_train": 16}
    small |= {"student_steps": 3, "max_start": 2, "experts": {"count": 2}}
    small |= {"stages": 2, "epochs": 2, "base": {k: small[k] for k in ("student_steps", "max_start", "experts")}}
    small["base"]["name"] = "mtt"
    teacher = {"network": {"name": "convnet", "width": 4}, "epochs": 1}
    return {
        "dataset": "digits",
        "ipc": 2 * stages(method),
        "method": {"name": method, **{k: v for k, v in small.items() if k in known}},
        "regularizers": [
            {"name": r, "relative": 0.5, "calibration_steps": 2}
            | ({"teacher": teacher} if "teacher" in REGULARIZERS[r].model_fields else {})
            for r in regularizers
        ],
        "network": {"name": "convnet", "width": 4, "depth": 2},
        "compile": os.environ.get("DD_TEST_COMPILE", "off"),
        "metrics": {"every": 2, "probe": "random"},
        "snapshots": {"every": 3},
        "checkpoints": {"every": 2},
        "evaluation": {"repeats": 1, "epochs": 2, "controls": ["random"]},
    } | fields


def stages(method: str) -> int:
    """Stages that such a job learns in."""
    return 2 if "stages" in METHODS[method].model_fields else 1


def fitting(method: str, /, **fields: Any) -> tuple[str, ...]:
    """The regularisers that a method can be joined by."""

    def fits(term: str) -> bool:
        try:
            parse(job(method, term, **fields))
        except SpecError:
            return False
        return True

    return tuple(filter(fits, REGULARIZERS))


def combinations() -> list[tuple[str, ...]]:
    """Every method alone, with each regulariser that fits it, and with all of these."""
    return [
        (method, *terms)
        for method in METHODS
        for terms in dict.fromkeys(((), *((term,) for term in fitting(method)), fitting(method)))
    ]


def distil(spec: JobSpec, folder: Path, cache: Path, callback: Any) -> engine.Result:
    return engine.run(spec, folder / "out", run_dir=folder / "run", cache=cache, callback=callback)


def digest(folder: Path) -> str:
    return hashlib.sha256((folder / "out" / "distilled.safetensors").read_bytes()).hexdigest()


def check(names: tuple[str, ...], folder: Path, cache: Path, recorder: Any, **fields: Any) -> None:
    """The promises: finite readings, respect of the seed, exact resumption, a bundle that loads."""
    terms = names[1:]
    spec = parse(job(*names, **fields))
    assert parse(json.loads(spec.model_dump_json())) == spec

    whole = recorder()
    result = distil(spec, folder / "whole", cache, whole)
    assert result.steps == spec.method.iterations
    assert {"loading", "distilling", "evaluating", "finalizing"} <= set(whole.phases)
    for values in whole.metrics.values():
        assert all(math.isfinite(v) for v in values.values())
        assert {"mi_lower_bound", "cmi"} <= set(values)
        assert values["mi_lower_bound"] <= math.log(10)
        assert values["cmi"] >= 0
    assert result.results["accuracy"]["networks"] == 1
    assert result.results["controls"]["random"]["networks"] == 1

    bundle = load_file(folder / "whole" / "out" / "distilled.safetensors")
    assert bundle["images"].shape == (10 * spec.images_per_class, 1, 8, 8)
    assert bundle["images"].dtype == torch.float32
    assert bundle["labels"].tolist() == [c for c in range(10) for _ in range(spec.images_per_class)]
    stored = folder / "whole" / "out" / "stored.safetensors"
    assert stored.exists() == (spec.decoder.name != "identity")
    if spec.decoder.views > 1:
        assert load_file(stored)["images"].shape == (10 * spec.ipc, 1, 8, 8)

    other = parse(job(*names, seed=1, **fields))
    distil(other, folder / "seed", cache, recorder())
    assert digest(folder / "seed") != digest(folder / "whole")

    if not spec.method.iterations:
        return
    last = whole.metrics[STEPS]
    assert {f"loss/{name}" for name in ("base", *terms)} | {"loss"} <= set(last)
    total = last["loss/base"] + sum(last[f"weight/{t}"] * last[f"loss/{t}"] for t in terms)
    assert last["loss"] == pytest.approx(total, rel=1e-6)

    parts = [recorder(stop_after=1), recorder(stop_after=3), recorder()]
    for part in parts[:2]:
        with pytest.raises(Interrupted):
            distil(spec, folder / "parts", cache, part)
    distil(spec, folder / "parts", cache, parts[2])
    assert [part.resumed for part in parts] == [[], [(1, True)], [(3, True)]]
    assert digest(folder / "parts") == digest(folder / "whole")
    assert {**parts[0].metrics, **parts[1].metrics, **parts[2].metrics} == whole.metrics


@pytest.mark.parametrize("names", combinations(), ids="+".join)
def test_contract(names: tuple[str, ...], tmp_path: Path, cache: Path, recorder: Any) -> None:
    check(names, tmp_path, cache, recorder)


@pytest.mark.parametrize("method", [m for m in METHODS if "mosaic" in METHODS[m].decoders])
def test_contract_with_mosaics(method: str, tmp_path: Path, cache: Path, recorder: Any) -> None:
    """Through a decoder, and with one image a class: its tiles are enough for every regulariser."""
    fields = {"decoder": "mosaic", "ipc": stages(method)}
    terms = fitting(method, **fields)
    assert terms == fitting(method)
    check((method, *terms), tmp_path, cache, recorder, **fields)


@pytest.mark.parametrize("method", [m for m in METHODS if "representative" in METHODS[m].samplers])
def test_contract_with_representative_batches(method: str, tmp_path: Path, cache: Path, recorder: Any) -> None:
    """Drawn anew at step 4, after both interruptions, and from a start that represents its class as well."""
    sampler = {"name": "representative", "interval": 4, "candidates": 20}
    start = {} if method == "dc" else {"init": "k_means"}
    check((method,), tmp_path, cache, recorder, sampler=sampler, **start)


@pytest.mark.parametrize("method", [m for m in METHODS if "addressed" in METHODS[m].decoders])
def test_contract_with_addressed_memory(method: str, tmp_path: Path, cache: Path, recorder: Any) -> None:
    """What is stored are no images, and all classes share a part of it."""
    fields = {"decoder": {"name": "addressed", "bases": 8, "factor": 2}, "ipc": 1}
    check((method, *fitting(method, **fields)), tmp_path, cache, recorder, **fields)
    stored = load_file(tmp_path / "whole" / "out" / "stored.safetensors")
    assert {name: tuple(part.shape) for name, part in stored.items()} == {
        "coefficients": (60, 8),
        "bases": (8, 1, 4, 4),
    }


@pytest.mark.parametrize("base", ["dsa", "idc"])
@pytest.mark.parametrize("method", [m for m in METHODS if stages(m) > 1])
def test_contract_of_stages_around_gradient_matching(
    method: str, base: str, tmp_path: Path, cache: Path, recorder: Any
) -> None:
    """Stages stand around trajectory matching above; here their networks come from a pool."""
    small = {"dsa": {"inner_loop": 1}, "idc": {"steps_per_network": 2, "train_images": 32, "batch_train": 16}}
    around = {"name": base, "batch_real": 8, **small[base]}
    fields = {"method": {"name": method, "iterations": STEPS, "stages": 2, "epochs": 2, "pool": 2, "base": around}}
    terms = fitting(method, **fields)
    assert {"mim", "cmi"} <= set(terms)
    check((method, *terms), tmp_path, cache, recorder, **fields)


@pytest.mark.slow
@pytest.mark.skipif(missing_compiler(torch.device("cpu")) is not None, reason="there is no C++ compiler")
def test_compiled_passes_resume_exactly(tmp_path: Path, cache: Path, recorder: Any) -> None:
    """One method stands for all: compiling is the networks' affair, and each graph costs seconds."""
    fields = {"compile": "on", "precision": "bf16", "evaluation": {"repeats": 0}}
    spec = parse(job("dm", "cmi", **fields))
    whole = recorder()
    distil(spec, tmp_path / "whole", cache, whole)
    with pytest.raises(Interrupted):
        distil(spec, tmp_path / "parts", cache, recorder(stop_after=3))
    rest = recorder()
    distil(spec, tmp_path / "parts", cache, rest)
    assert rest.resumed == [(3, True)]
    assert digest(tmp_path / "parts") == digest(tmp_path / "whole")
    assert rest.metrics[STEPS] == whole.metrics[STEPS]


@pytest.mark.parametrize("names", [(m, *terms) for m in METHODS if (terms := fitting(m))], ids="+".join)
def test_contract_in_bf16(names: tuple[str, ...], tmp_path: Path, cache: Path, recorder: Any) -> None:
    check(names, tmp_path, cache, recorder, precision="bf16")


@pytest.fixture
def toy() -> Iterator[str]:
    """A method made of one configuration class and one implementation, as a third party would add it."""

    @method_config
    class ToyConfig(DMConfig):
        name: Literal["toy"] = "toy"  # type: ignore[assignment]
        scale: float = Field(2.0, gt=0, description="Factor of the loss.")

    @implements(ToyConfig)
    class Toy(DM):
        def backward(self, step: Any) -> Readings:
            readings = super().backward(step)
            step.synthetic.gradient.mul_(self.config.scale)
            return {name: value * self.config.scale for name, value in readings.items()}

    yield "toy"
    METHODS.unregister("toy")
    del _IMPLEMENTATIONS[ToyConfig]


def test_a_toy_method_passes_unchanged(toy: str, tmp_path: Path, cache: Path, recorder: Any) -> None:
    check((toy, "mim", "cmi"), tmp_path, cache, recorder)


def test_registering_a_taken_name_is_refused(toy: str) -> None:
    with pytest.raises(ValueError, match="already registered"):

        @method_config
        class Impostor(DMConfig):
            name: Literal["toy"] = "toy"  # type: ignore[assignment]

    assert METHODS["toy"].__name__ == "ToyConfig"
