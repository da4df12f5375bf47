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


def assemble(
    spec: JobSpec,
    dataset: Dataset,
    compute: Compute,
    *,
    cache: Path | None = None,
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
        callback=callback or Callback(),
        check_stop=check_stop,
        fresh=fresh,
    )
    run.real_batches = implementation(spec.sampler, "ddcore.runtime.real_batches")(spec.sampler, run)
    return run
