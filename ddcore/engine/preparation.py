"""What is there before the first step: the dataset as the job sees it, the device, and the contexts that share them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from ddcore.bundle.parent import Grown, Parent, extended
from ddcore.data import sources
from ddcore.data.dataset import Dataset, ImageSet, restricted, rows_of
from ddcore.data.sampling import check_class_sizes, reserve
from ddcore.data.whitening import whitened
from ddcore.errors import ConfigurationError
from ddcore.evaluation.holding_out import hold_out
from ddcore.evaluation.probe import Probe, Readable
from ddcore.runtime.assembly import assemble, choose_compute
from ddcore.runtime.callback import Callback
from ddcore.runtime.context import Run
from ddcore.spec import JobSpec
from ddcore.spec.cost import Cost
from ddcore.spec.job import ipc_exceeds_class, starts_from_more_than
from ddcore.spec.work import DataSizes
from ddcore.synthetic.set import SyntheticSet


@dataclass(frozen=True, eq=False)
class Prepared:
    """A job with what it runs on.

    Attributes:
        spec: the job, with what its dataset decides.
        named: its dataset, as it is before whitening.
        held: images that were held out of the training images, where some were.
        parent: the bundle that the job extends, if it does.
        whole: context of all classes.
        making: context of the classes that the method makes; the same one where that is all.
        probe: what the images are read by.
    """

    spec: JobSpec
    named: Dataset
    held: ImageSet | None
    parent: Parent | None
    whole: Run
    making: Run
    probe: Probe

    def cost(self, spec: JobSpec) -> Cost:
        """The work of a job that differs in its steps only."""
        return _cost(spec, self.whole.dataset, self.held, self.parent)

    def read(self, synthetic: SyntheticSet) -> Readable:
        """All images as they are, those that stay beside those that are learned."""
        return synthetic if self.parent is None else Grown(self.parent, synthetic.finished()[0])


def prepare(
    spec: JobSpec,
    *,
    data_root: Path | None,
    cache: Path | None,
    backbones: Path | None,
    parent: Path | None,
    callback: Callback,
    check_stop: Callable[[], None],
    fresh: bool,
) -> Prepared:
    """Load the dataset of a job and choose what it is computed with.

    Args:
        spec: what to do.
        data_root: folder of named datasets.
        cache: folder shared by runs.
        backbones: folder of the weights of networks that others trained.
        parent: folder of the bundle that the job extends.
        callback: told what happens.
        check_stop: raises when the run has been asked to stop.
        fresh: whether the run begins, rather than going on after an interruption.

    Raises:
        DataError: the dataset is missing or unfit.
        ConfigurationError: the specification cannot be run on this dataset or machine.
    """
    callback.on_phase("loading", None)
    named = dataset = sources.load(spec.dataset, data_root, cache)
    for remark in dataset.remarks:
        callback.on_log("warning", remark)
    spec = spec.knowing(dataset.facts)
    dataset, held = _learned_from(spec, dataset)
    check(spec, dataset)
    before = extended(spec, parent, dataset)
    if before is not None:
        named = dataset = before.dataset
        callback.on_log("info", before.in_words())
    if spec.whitening:
        dataset = whitened(dataset, cache)
    cost = _cost(spec, dataset, held, before)
    compute = choose_compute(spec, cost, cache, callback)
    callback.on_plan(cost, compute.describe())
    unseen = reserve(dataset, _sizes(dataset).probe_images, torch.Generator().manual_seed(0))
    whole = assemble(
        spec,
        dataset,
        compute,
        cache=cache,
        backbones=backbones,
        callback=callback,
        check_stop=check_stop,
        fresh=fresh,
        exclude=unseen,
    )
    probe = Probe(whole, unseen, cost.probe)
    return Prepared(spec, named, held, before, whole, _making(whole, before, unseen), probe)


def check(spec: JobSpec, dataset: Dataset) -> None:
    """Refuse what only the loaded dataset can tell.

    Raises:
        DataError: a class has too few images.
        ConfigurationError: the job starts from more images of a class than there are.
    """
    check_class_sizes(dataset)
    counts = dataset.class_counts
    smallest = min(counts)
    if starts_from_more_than(spec, smallest):
        name = dataset.classes[counts.index(smallest)]
        raise ConfigurationError(ipc_exceeds_class(spec, f"class '{name}' of {spec.dataset}", smallest))


def _learned_from(spec: JobSpec, dataset: Dataset) -> tuple[Dataset, ImageSet | None]:
    """The dataset as the job sees it, and the images that are held out of it."""
    during = spec.evaluation.during
    if during is None or not during.held_out:
        return dataset, None
    check_class_sizes(dataset)
    return hold_out(dataset, during.validation)


def _making(whole: Run, parent: Parent | None, unseen: torch.Tensor) -> Run:
    """What the method sees: all, or the classes that are made; a rule that keeps images looks at all in any case.

    Its networks are trained on all classes: those of a few would tell nothing apart.
    """
    if parent is None or whole.spec.method.iterations == 0:
        return whole
    excluded = torch.zeros(len(whole.dataset.train), dtype=torch.bool)
    excluded[unseen.flatten()] = True
    return assemble(
        whole.spec,
        restricted(whole.dataset, parent.made),
        whole.compute,
        cache=whole.cache,
        backbones=whole.backbones,
        callback=whole.callback,
        check_stop=whole.check_stop,
        fresh=whole.fresh,
        exclude=excluded[rows_of(whole.dataset.train, parent.made)].nonzero().flatten(),
        part=True,
    )


def _cost(spec: JobSpec, dataset: Dataset, held: ImageSet | None, parent: Parent | None) -> Cost:
    """The work of a job, of which the steps see only the classes that are made."""
    made = None if parent is None else _sizes(restricted(dataset, parent.made))
    return Cost(spec, _sizes(dataset, held), made)


def _sizes(dataset: Dataset, held: ImageSet | None = None) -> DataSizes:
    """What the work of a job depends on besides its specification."""
    held_out = () if held is None else held.class_counts
    return DataSizes(dataset.shape, dataset.class_counts, len(dataset.test), held_out)
