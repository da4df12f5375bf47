"""What every method and regulariser promises, each with each.

A new method or regulariser is covered as soon as its files are there, at the ``smoke`` size that its configuration
gives; nothing here is edited. The promises, and where each is checked:

- *finite readings*, with the probe's bounds, a loss that is the sum of its parts, every phase, a score beside its
  control, and a bundle that loads: :func:`check_run`, for every combination;
- *exact resumption*, the same images and the same readings at the same steps: :func:`check_resumption`, for every
  method alone and with all its regularisers, and for every regulariser with the first method that it fits. A stop after
  step 1 lies within the steps over which a relative strength is measured, so a regulariser is stopped there; one after
  step 3 lies within the life of a network, a batch or a stage, so a method alone is stopped there; all regularisers
  together are stopped at both;
- *going on*, where the method says that it can: the images of one run of as many steps, see
  :func:`test_a_finished_run_that_goes_on_makes_the_images_of_one_run`;
- *accuracy on the way* that leaves the images alone: :func:`test_accuracy_on_the_way_leaves_the_images_alone`;
- *respect of the seed*: the same seed gives the same bytes (the resumed run is another one), and another seed gives
  others: :func:`test_another_seed_gives_other_images`, for every method, whose start differs whatever joins it.

An undisturbed run of a specification is done once and serves every test of this file that compares with it. Network
passes run as they are; ``DD_TEST_COMPILE=on`` has them compiled: six minutes on two cores with ``-n 2 -k in_bf16``.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from pydantic import Field
from safetensors.torch import load_file

from ddcore import engine
from ddcore.errors import ConfigurationError, Interrupted
from ddcore.methods.dm import DM
from ddcore.nets import build
from ddcore.registry import _IMPLEMENTATIONS, implements
from ddcore.runtime.checkpoint import list_checkpoints
from ddcore.runtime.objective import Readings
from ddcore.spec import (
    DECODERS,
    METHODS,
    NETWORKS,
    REGULARIZERS,
    SAMPLERS,
    DMConfig,
    EvaluationConfig,
    JobSpec,
    MethodConfig,
    NetworkConfig,
    SpecError,
    method_config,
    parse,
)
from ddcore.spec.extending import with_steps
from tests.ddcore.compiler import compiles, needs_compiler
from tests.ddcore.recorder import Recorder

pytestmark = compiles
STEPS = 6


def job(method: str, /, *regularizers: str, **fields: Any) -> dict[str, Any]:
    """A specification small enough for a test, at the sizes that each configuration gives."""
    return {
        "dataset": "digits",
        "ipc": 2 * stages(method),
        "method": {"name": method, **METHODS[method].smoke} | steps(method),
        "regularizers": [
            {"name": term, "relative": 0.5, "calibration_steps": 2, **REGULARIZERS[term].smoke} for term in regularizers
        ],
        "network": {"name": "convnet", **NETWORKS["convnet"].smoke},
        "compile": os.environ.get("DD_TEST_COMPILE", "off"),
        "metrics": {"every": 2, "probe": "random"},
        "snapshots": {"every": 3},
        "checkpoints": {"every": 2},
        "evaluation": {"repeats": 1, "epochs": 2, "controls": ["random"], "audit": False},
    } | fields


def steps(method: str) -> dict[str, int]:
    """Steps of such a job, where the method takes any."""
    iterations = METHODS[method].model_fields["iterations"]
    return {} if any(getattr(m, "le", None) == 0 for m in iterations.metadata) else {"iterations": STEPS}


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


def of_method(method: str, *parameters: Any) -> Any:
    """A case of a test, under the name of its method."""
    return pytest.param(*(parameters or (method,)), id="+".join(*parameters) if parameters else method)


def methods(able: Callable[[type[MethodConfig]], bool] = lambda _: True) -> list[Any]:
    """Every method that is able to, as a case each."""
    return [of_method(name) for name, config in METHODS.items() if able(config)]


def combinations() -> list[Any]:
    """Every method alone, with each regulariser that fits it, and with all of these, as a case each."""
    return [
        of_method(method, (method, *terms))
        for method in METHODS
        for terms in dict.fromkeys(((), *((term,) for term in fitting(method)), fitting(method)))
    ]


def distil(spec: JobSpec, folder: Path, cache: Path | None, callback: Any) -> engine.Result:
    return engine.run(spec, folder / "out", run_dir=folder / "run", cache=cache, callback=callback)


def digest(folder: Path) -> str:
    return hashlib.sha256((folder / "out" / "distilled.safetensors").read_bytes()).hexdigest()


@dataclass(frozen=True)
class Whole:
    """An undisturbed run: its folder, what it said and what it returned."""

    spec: JobSpec
    folder: Path
    said: Any
    result: engine.Result


class Runs:
    """Undisturbed runs of this process, each done when it is first asked for."""

    def __init__(self, folder: Path, cache: Path) -> None:
        self.cache = cache
        self._folder = folder
        self._done: dict[str, Whole] = {}

    def whole(self, spec: JobSpec) -> Whole:
        key = spec.model_dump_json()
        if key not in self._done:
            folder, said = self._folder / str(len(self._done)), Recorder()
            self._done[key] = Whole(spec, folder, said, distil(spec, folder, self.cache, said))
        return self._done[key]


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Runs:
    return Runs(tmp_path_factory.mktemp("undisturbed"), cache)


def check(names: tuple[str, ...], runs: Runs, folder: Path, *stops: int, **fields: Any) -> Whole:
    """All promises of a combination but that of another seed; that of resumption where it is stopped anywhere."""
    spec = parse(job(*names, **fields))
    assert parse(json.loads(spec.model_dump_json())) == spec
    whole = runs.whole(spec)
    check_run(whole)
    if spec.method.iterations:
        check_sum(whole)
    if spec.method.iterations and stops:
        check_resumption(whole, runs.cache, folder, *stops)
    return whole


def check_run(whole: Whole) -> None:
    """Finite readings within their bounds, all phases, a score and its control, and a bundle that loads."""
    spec, said, results = whole.spec, whole.said, whole.result.results
    assert whole.result.steps == spec.method.iterations
    assert {"loading", "distilling", "evaluating", "finalizing"} <= set(said.phases)
    for values in said.metrics.values():
        assert all(math.isfinite(v) for v in values.values())
        assert {"mi_lower_bound", "cmi"} <= set(values)
        assert values["mi_lower_bound"] <= math.log(10)
        assert values["cmi"] >= 0
    assert results["accuracy"]["networks"] == 1
    assert results["controls"]["random"]["networks"] == 1

    bundle = load_file(whole.folder / "out" / "distilled.safetensors")
    assert bundle["images"].shape == (10 * spec.images_per_class, 1, 8, 8)
    assert bundle["images"].dtype == torch.float32
    assert bundle["labels"].tolist() == [c for c in range(10) for _ in range(spec.images_per_class)]
    stored = whole.folder / "out" / "stored.safetensors"
    assert stored.exists() == (spec.images_per_class != spec.ipc)
    if spec.decoder.views > 1:
        assert load_file(stored)["images"].shape == (10 * spec.ipc, 1, 8, 8)


def check_sum(whole: Whole) -> None:
    """The total is the loss of the method and, by their weights, those of the regularisers."""
    terms, last = [term.name for term in whole.spec.regularizers], whole.said.metrics[STEPS]
    assert {f"loss/{name}" for name in terms} | {"loss"} <= set(last)
    total = last["loss"] + sum(last[f"weight/{t}"] * last[f"loss/{t}"] for t in terms)
    assert last.get("loss/total") == (pytest.approx(total, rel=1e-6) if terms else None)


def check_resumption(whole: Whole, cache: Path, folder: Path, *stops: int) -> None:
    """Stopped after each of these steps and resumed, a run says and makes the same; scores come after the images."""
    spec = whole.spec.model_copy(update={"evaluation": EvaluationConfig(repeats=0, audit=False)})
    parts = [*map(Recorder, stops), Recorder()]
    for part in parts[:-1]:
        with pytest.raises(Interrupted):
            distil(spec, folder, cache, part)
    distil(spec, folder, cache, parts[-1])
    assert [part.resumed for part in parts] == [[], *([(step, True)] for step in stops)]
    assert digest(folder) == digest(whole.folder)
    said: dict[int, dict[str, float]] = {}
    for part in parts:
        said |= part.metrics
    assert said == whole.said.metrics


def stops_of(names: tuple[str, ...]) -> tuple[int, ...]:
    """Where a combination is stopped and resumed."""
    method, *terms = names
    if not terms:
        return (3,)
    if names[1:] == fitting(method):
        return (1, 3)
    return (1,) if method == next(known for known in METHODS if terms[0] in fitting(known)) else ()


@pytest.mark.parametrize("names", combinations())
def test_contract(names: tuple[str, ...], runs: Runs, tmp_path: Path) -> None:
    check(names, runs, tmp_path, *stops_of(names))


@pytest.mark.parametrize("method", methods())
def test_another_seed_gives_other_images(method: str, runs: Runs, tmp_path: Path) -> None:
    distil(parse(job(method, seed=1, evaluation={"repeats": 0, "audit": False})), tmp_path, runs.cache, Recorder())
    assert digest(tmp_path) != digest(runs.whole(parse(job(method))).folder)


@pytest.mark.usefixtures("plain_map")
@pytest.mark.parametrize("method", [case for case in methods() if steps(case.id)])
def test_accuracy_on_the_way_leaves_the_images_alone(method: str, runs: Runs, tmp_path: Path) -> None:
    """The bytes and readings of a run without it and without an audit, though it is interrupted where it scores."""
    whole = runs.whole(parse(job(method)))
    spec = parse(job(method, evaluation={"repeats": 0, "during": {"every": 2, "epochs": 1}}))
    parts = [Recorder(stop_after=4), Recorder()]
    with pytest.raises(Interrupted):
        distil(spec, tmp_path, runs.cache, parts[0])
    distil(spec, tmp_path, runs.cache, parts[1])
    assert digest(tmp_path) == digest(whole.folder)
    said = parts[0].metrics | parts[1].metrics
    ours = {step: {k for k in values if k.startswith("accuracy/")} for step, values in said.items()}
    assert {step: names for step, names in ours.items() if names} == {
        2: {"accuracy/validation", "accuracy/random"}, 4: {"accuracy/validation"}, 6: {"accuracy/validation"},
    }  # fmt: skip
    others = {step: {k: v for k, v in values.items() if k not in ours[step]} for step, values in said.items()}
    assert others == whole.said.metrics


EXTENDABLE = [(method,) for method in METHODS if METHODS[method].extendable]


@pytest.mark.parametrize("names", [of_method(n[0], n) for n in (*EXTENDABLE, ("dm", *fitting("dm")))])
def test_a_finished_run_that_goes_on_makes_the_images_of_one_run(
    names: tuple[str, ...], runs: Runs, tmp_path: Path
) -> None:
    """Four steps that ended and were scored, and two more; with one method, every regulariser goes on too."""
    assert all(REGULARIZERS[term].extendable for term in names[1:])
    whole = runs.whole(parse(job(*names)))
    first, rest = Recorder(), Recorder()
    distil(with_steps(whole.spec, 4), tmp_path, runs.cache, first)
    scored = distil(whole.spec, tmp_path, runs.cache, rest)
    assert rest.resumed == [(4, True)]
    assert digest(tmp_path) == digest(whole.folder)
    assert rest.metrics[STEPS] == whole.said.metrics[STEPS]
    assert scored.results["accuracy"] == whole.result.results["accuracy"]


@pytest.mark.parametrize("method", methods(lambda config: "mosaic" in config.usable_decoders()))
def test_contract_with_mosaics(method: str, runs: Runs, tmp_path: Path) -> None:
    """Through a decoder, and with one image a class: its tiles are enough for every regulariser."""
    fields = {"decoder": "mosaic", "ipc": stages(method)}
    terms = fitting(method, **fields)
    assert terms == fitting(method)
    check((method, *terms), runs, tmp_path, 3, **fields)


@pytest.mark.parametrize("method", methods(lambda config: "representative" in config.usable_samplers()))
def test_contract_with_representative_batches(method: str, runs: Runs, tmp_path: Path) -> None:
    """Drawn anew at step 4, after the interruption, and from a start that represents its class as well."""
    sampler = {"name": "representative", **SAMPLERS["representative"].smoke}
    assert sampler["interval"] == 4
    start = {} if method == "dc" else {"init": "k_means"}
    check((method,), runs, tmp_path, 3, sampler=sampler, **start)


@pytest.mark.parametrize("method", methods(lambda config: "addressed" in config.usable_decoders()))
def test_contract_with_addressed_memory(method: str, runs: Runs, tmp_path: Path) -> None:
    """What is stored are no images, and all classes share a part of it."""
    fields = {"decoder": {"name": "addressed", **DECODERS["addressed"].smoke}, "ipc": 1}
    whole = check((method, *fitting(method, **fields)), runs, tmp_path, 3, **fields)
    stored = load_file(whole.folder / "out" / "stored.safetensors")
    assert {name: tuple(part.shape) for name, part in stored.items()} == {
        "coefficients": (60, 8),
        "bases": (8, 1, 4, 4),
    }


@pytest.mark.parametrize("base", ["dsa", "idc"])
@pytest.mark.parametrize("method", methods(lambda config: "stages" in config.model_fields))
def test_contract_of_stages_around_gradient_matching(method: str, base: str, runs: Runs, tmp_path: Path) -> None:
    """Stages stand around trajectory matching above; here their networks come from a pool."""
    shorter = {"dsa": {"inner_loop": 1}, "idc": {"steps_per_network": 2}}
    around = {"name": base, **METHODS[base].smoke, **shorter[base]}
    fields = {"method": {"name": method, "iterations": STEPS, "stages": 2, "epochs": 2, "pool": 2, "base": around}}
    terms = fitting(method, **fields)
    assert {"mim", "cmi"} <= set(terms)
    check((method, *terms), runs, tmp_path, 3, **fields)


def one_for(able: Callable[[type[MethodConfig]], Iterable[str]], name: str) -> str:
    """`dm` where it can use a component of that name, else the first method that can."""
    return next(method for method in ("dm", *METHODS) if name in able(METHODS[method]))


@pytest.mark.parametrize("network", [of_method("dm", (name,)) for name in NETWORKS])
def test_contract_of_networks(network: tuple[str], runs: Runs, tmp_path: Path) -> None:
    """Those that images of 8 x 8 pixels are too small for say so."""
    fields = {"network": {"name": network[0], **NETWORKS[network[0]].smoke}}
    if fits_digits(parse(job("dm", **fields)).network):
        check(("dm",), runs, tmp_path, 3, **fields)
        return
    with pytest.raises(ConfigurationError, match="use images of at least"):
        distil(parse(job("dm", **fields)), tmp_path, runs.cache, Recorder())


def fits_digits(network: NetworkConfig) -> bool:
    try:
        build(network, (1, 8, 8), 10)
    except ConfigurationError:
        return False
    return True


@pytest.mark.parametrize("decoder", [of_method("dm", (name,)) for name in DECODERS])
def test_contract_of_decoders(decoder: tuple[str], runs: Runs, tmp_path: Path) -> None:
    method = one_for(lambda config: config.usable_decoders(), decoder[0])
    check((method,), runs, tmp_path, 3, decoder={"name": decoder[0], **DECODERS[decoder[0]].smoke})


@pytest.mark.parametrize("sampler", [of_method("dm", (name,)) for name in SAMPLERS])
def test_contract_of_samplers(sampler: tuple[str], runs: Runs, tmp_path: Path) -> None:
    method = one_for(lambda config: config.usable_samplers(), sampler[0])
    check((method,), runs, tmp_path, 3, sampler={"name": sampler[0], **SAMPLERS[sampler[0]].smoke})


@pytest.mark.slow
@needs_compiler
def test_compiled_passes_resume_exactly(tmp_path: Path) -> None:
    """One method and one block stand for all: compiling is the networks' affair, and each graph costs seconds.

    So the rest starts from a checkpoint that the whole run left behind, rather than from that of a third run.
    """
    fields = {
        "compile": "on",
        "precision": "bf16",
        "network": {"name": "convnet", "width": 32, "depth": 1},  # wide enough for our own kernel
        "evaluation": {"repeats": 0, "audit": False},
        "checkpoints": {"every": 3},
    }
    spec = parse(job("dm", **fields))
    whole, rest = Recorder(), Recorder()
    distil(spec, tmp_path / "whole", None, whole)
    newest, halfway = list_checkpoints(tmp_path / "whole" / "run" / "checkpoints")
    newest.unlink()
    shutil.move(tmp_path / "whole" / "run", tmp_path / "rest" / "run")
    distil(spec, tmp_path / "rest", None, rest)
    assert halfway.name.startswith("0000000003-")
    assert rest.resumed == [(3, True)]
    assert digest(tmp_path / "rest") == digest(tmp_path / "whole")
    assert rest.metrics[STEPS] == whole.metrics[STEPS]


@pytest.mark.parametrize("names", [of_method(m, (m, *terms)) for m in METHODS if (terms := fitting(m))])
def test_contract_in_bf16(names: tuple[str, ...], runs: Runs, tmp_path: Path) -> None:
    check(names, runs, tmp_path, 3, precision="bf16")


@pytest.fixture
def toy() -> Iterator[str]:
    """A method made of one configuration class and one implementation, as a third party would add it."""

    @method_config
    class ToyConfig(DMConfig):
        name: Literal["toy"] = "toy"  # type: ignore[assignment] # a component of its own, under its own name
        scale: float = Field(2.0, gt=0, description="Factor of the loss.")

    @implements(ToyConfig)
    class Toy(DM):
        config: ToyConfig

        def backward(self, step: Any) -> Readings:
            readings = super().backward(step)
            step.synthetic.gradient.mul_(self.config.scale)
            return {name: value * self.config.scale for name, value in readings.items()}

    yield "toy"
    METHODS.unregister("toy")
    del _IMPLEMENTATIONS[ToyConfig]


def test_a_toy_method_passes_unchanged(toy: str, runs: Runs, tmp_path: Path) -> None:
    check((toy, "mim", "cmi"), runs, tmp_path, 1, 3)


def test_registering_a_taken_name_is_refused(toy: str) -> None:
    with pytest.raises(ValueError, match="already registered"):

        @method_config
        class Impostor(DMConfig):
            name: Literal["toy"] = "toy"  # type: ignore[assignment] # a component of its own, under its own name

    assert METHODS["toy"].__name__ == "ToyConfig"
