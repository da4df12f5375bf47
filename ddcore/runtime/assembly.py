"""Puts the context of a run together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from ddcore import nets
from ddcore.augment.siamese import strategy_for
from ddcore.data.dataset import Dataset
from ddcore.data.sampling import ClassSampler
from ddcore.machine.compute import Compute
from ddcore.nets.functional import Functional
from ddcore.registry import implementation
from ddcore.runtime.callback import Callback
from ddcore.runtime.context import Run
from ddcore.runtime.randomness import Randomness
from ddcore.spec import JobSpec
from ddcore.spec.cost import Cost


def choose_compute(spec: JobSpec, cost: Cost, cache: Path | None, callback: Callback) -> Compute:
    """Device, precision and compilation of a job, as it asks for them and its work is worth.

    Args:
        spec: what was asked for.
        cost: its work.
        cache: folder shared by jobs, for compiled code.
        callback: told where less is done than was asked for.

    Raises:
        ConfigurationError: the device does not exist.
    """
    return Compute.choose(
        spec.device,
        spec.precision,
        spec.compile,
        expected_images_forwarded=cost.passes_without_looks,
        macs_per_image=cost.macs_per_image,
        cache=cache,
        log=callback.on_log,
    )


def assemble(
    spec: JobSpec,
    dataset: Dataset,
    compute: Compute,
    *,
    cache: Path | None = None,
    backbones: Path | None = None,
    callback: Callback | None = None,
    check_stop: Callable[[], None] = lambda: None,
    fresh: bool = True,
    exclude: Tensor | None = None,
    part: bool = False,
) -> Run:
    """The context of a job on a dataset.

    Args:
        spec: what was asked for.
        dataset: real images.
        compute: device, precision and compilation.
        cache: folder shared by jobs; ``None`` keeps nothing.
        backbones: folder of the weights of networks that others trained.
        callback: observer of the run; by default nobody observes it.
        check_stop: raises ``Interrupted`` when the run has been asked to stop; never, by default.
        fresh: whether the run begins, rather than going on after an interruption.
        exclude: int64 training rows that no update may draw.
        part: whether these are some classes of a set, of which there may be one. Networks that only compare features
            have two outputs then.
    """
    classes = len(dataset.classes)
    outputs = max(classes, 2) if part else classes
    run = Run(
        spec=spec,
        dataset=dataset,
        compute=compute,
        functional=Functional(nets.build(spec.network, dataset.shape, outputs), compute),
        strategy=strategy_for(spec.augmentation, dataset.flip),
        random=Randomness(spec.seed, compute.device),
        sampler=ClassSampler(dataset.train.labels, classes, exclude=exclude),
        cache=cache,
        backbones=backbones,
        callback=callback or Callback(),
        check_stop=check_stop,
        fresh=fresh,
    )
    run.real_batches = implementation(spec.sampler, "ddcore.runtime.real_batches")(spec.sampler, run)
    return run
