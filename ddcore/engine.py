"""The one loop that every method and regulariser runs in, from a specification to a bundle."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NoReturn

import torch
from torch import Tensor

from ddcore import bundle
from ddcore.bundle.parent import Grown, extended
from ddcore.data import sources
from ddcore.data.dataset import Dataset, ImageSet, restricted, rows_of
from ddcore.data.sampling import check_class_sizes, reserve
from ddcore.data.whitening import whitened
from ddcore.errors import CheckpointError, ConfigurationError, Held, Interrupted, OutOfMemoryError
from ddcore.evaluation.audit import audit, summary
from ddcore.evaluation.during import During
from ddcore.evaluation.evaluation import Evaluation, NetworkScore
from ddcore.evaluation.holding_out import hold_out
from ddcore.evaluation.probe import Probe, Readable
from ddcore.machine.compute import Compute
from ddcore.methods import build_producer
from ddcore.regularizers import build_regularizer
from ddcore.regularizers.strength import WeightedTerm
from ddcore.runtime.assembly import assemble
from ddcore.runtime.callback import Callback, Stop
from ddcore.runtime.checkpoint import Checkpoint, Stateful, newest_valid, save_checkpoint, versions
from ddcore.runtime.context import Run
from ddcore.runtime.nonfinite import METHOD, Pulls
from ddcore.runtime.objective import Method, Readings, Step
from ddcore.runtime.randomness import Randomness
from ddcore.spec import JobSpec, parse
from ddcore.spec.audit import AuditDocument
from ddcore.spec.cost import Cost
from ddcore.spec.extending import not_extendable, with_steps
from ddcore.spec.job import ipc_exceeds_class, starts_from_more_than
from ddcore.spec.readings import LOSS, LOSS_BASE, LOSS_TOTAL
from ddcore.spec.results import Audit, Results
from ddcore.spec.work import DataSizes
from ddcore.synthetic.set import SyntheticSet
from ddcore.training.stored_labels import StoredLabels


@dataclass(frozen=True)
class Result:
    """What a run leaves behind.

    Attributes:
        out: folder with the bundle's files.
        results: accuracy, controls, probe; the ``results`` object of the manifest.
        steps: steps taken.
    """

    out: Path
    results: Results
    steps: int


def distill(dataset: str, out: str | Path, **fields: Any) -> Result:
    """Distil a dataset without a service.

    Args:
        dataset: name of the dataset.
        out: folder that receives the bundle's files.
        **fields: further fields of the job specification, short or full spelling
            (``ipc=10, method="dm", regularizers={"mim": 0.8}``), and ``data_root``, ``cache``, ``parent`` and
            ``callback`` of :func:`run`.

    Raises:
        SpecError: the specification is wrong; it lists every fault.
        DistillationError: the run failed.
    """
    surroundings = {name: fields.pop(name) for name in ("data_root", "cache", "parent", "callback") if name in fields}
    spec = parse({"dataset": dataset, **fields})
    with TemporaryDirectory(prefix="ddcore-") as run_dir:
        return run(spec, Path(out), run_dir=Path(run_dir), **surroundings)


def run(
    spec: JobSpec,
    out: Path,
    *,
    run_dir: Path,
    data_root: Path | None = None,
    cache: Path | None = None,
    parent: Path | None = None,
    callback: Callback | None = None,
    hold_at: int | None = None,
) -> Result:
    """Run a job to its end, from the newest valid checkpoint in ``run_dir`` if there is one.

    Args:
        spec: what to do.
        out: folder that receives the bundle's files.
        run_dir: folder of this run's checkpoints; the same folder resumes the run.
        data_root: folder of named datasets.
        cache: folder shared by runs for decoded datasets, teachers and compiled code.
        parent: folder of the bundle that the job extends: its images of unchanged classes stay, and only the others are
            distilled.
        callback: told what happens; may ask the run to stop.
        hold_at: stop once so many steps are taken, or all there are, before the images are evaluated. Run again, with
            another number or none, to go on.

    Raises:
        DataError: the dataset is missing or unfit.
        ConfigurationError: the specification cannot be run on this dataset or machine.
        DivergedError: a loss or gradient became NaN or infinite.
        OutOfMemoryError: device or machine memory ran out.
        Interrupted: the callback asked for a stop and the state is saved.
        Held: likewise, at ``hold_at``.
    """
    observer = callback or Callback()
    with _memory_errors():
        return _Engine(spec, run_dir, data_root, cache, parent, observer, hold_at).run(out)


_OTHER_PROBE = (
    "from step {step} on `mi_lower_bound` and `cmi` are read with the probe {digest}, which is not that "
    "of the steps before: it was trained anew on another kind of machine, or `metrics.probe` was changed"
)

_OTHERWISE_COMPILED = (
    "a run of {step} steps and one of all steps choose differently whether to compile the network passes, so the "
    "images may be rounded otherwise than those of one run; `compile`: 'on' or 'off' in both prevents that"
)


class _FinishNow(Exception):  # noqa: N818 - not a failure
    """The callback wants the images as they are."""


class _Engine:
    """One run: owns the synthetic set, the step counter and the checkpoints."""

    def __init__(
        self,
        spec: JobSpec,
        run_dir: Path,
        data_root: Path | None,
        cache: Path | None,
        parent: Path | None,
        callback: Callback,
        hold_at: int | None = None,
    ) -> None:
        self.callback = callback
        self.checkpoints = run_dir / "checkpoints"
        self.step = 0
        self.scores: list[NetworkScore] = []
        self._ready = False
        self._saved_at = time.monotonic()
        self._hold_at = hold_at
        callback.on_phase("loading", None)
        self._named = dataset = sources.load(spec.dataset, data_root, cache)
        for remark in dataset.remarks:
            callback.on_log("warning", remark)
        self.spec = spec = spec.knowing(dataset.facts)
        dataset, self._held = _learned_from(spec, dataset)
        _check(spec, dataset)
        self.parent = extended(spec, parent, dataset)
        if self.parent is not None:
            self._named = dataset = self.parent.dataset
            callback.on_log("info", self.parent.in_words())
        if spec.whitening:
            dataset = whitened(dataset, cache)
        self.context = self._context(dataset, cache)
        self.making = self._making(cache)
        self.producer = build_producer(spec.method, self.making)
        self.regularizers = [WeightedTerm(build_regularizer(r, self.making)) for r in spec.regularizers]
        self._pulls = Pulls(self.context.steps_path)
        self.evaluation = Evaluation(self.context)
        cost, during = self._cost(spec, dataset), spec.evaluation.during
        self.during = None if during is None else During(self.context, during, cost.looks, self.evaluation, self._held)
        self._audits = cost.audited
        self.at_step: int | None = None
        self._epoch_labels: StoredLabels | None = None

    def _context(self, dataset: Dataset, cache: Path | None) -> Run:
        spec = self.spec
        sizes, expected = _sizes(dataset), self._cost(spec, dataset)
        compute = Compute.choose(
            spec.device,
            spec.precision,
            spec.compile,
            expected_images_forwarded=expected.passes_without_looks,
            macs_per_image=expected.macs_per_image,
            cache=cache,
            log=self.callback.on_log,
        )
        self.callback.on_plan(expected, compute.describe())
        rows = reserve(dataset, sizes.probe_images, torch.Generator().manual_seed(0))
        context = assemble(
            spec,
            dataset,
            compute,
            cache=cache,
            callback=self.callback,
            check_stop=self._check_stop,
            fresh=not self.checkpoints.is_dir(),
            exclude=rows,
        )
        self.probe = Probe(context, rows, expected.probe)
        self._unseen = rows
        return context

    def _cost(self, spec: JobSpec, dataset: Dataset) -> Cost:
        """The work of the job, of which the steps see only the classes that are made."""
        made = None if self.parent is None else _sizes(restricted(dataset, self.parent.made))
        return Cost(spec, _sizes(dataset, self._held), made)

    def _making(self, cache: Path | None) -> Run:
        """What the method sees: all, or the classes that are made; a rule that keeps images looks at all in any case.

        Its networks are trained on all classes: those of a few would tell nothing apart.
        """
        whole, parent = self.context, self.parent
        if parent is None or self.spec.method.iterations == 0:
            return whole
        unseen = torch.zeros(len(whole.dataset.train), dtype=torch.bool)
        unseen[self._unseen.flatten()] = True
        return assemble(
            self.spec,
            restricted(whole.dataset, parent.made),
            whole.compute,
            cache=cache,
            callback=self.callback,
            check_stop=self._check_stop,
            fresh=whole.fresh,
            exclude=unseen[rows_of(whole.dataset.train, parent.made)].nonzero().flatten(),
            part=True,
        )

    @property
    def _whole(self) -> Readable:
        """All images as they are."""
        return self.synthetic if self.parent is None else Grown(self.parent, self.synthetic.finished()[0])

    def run(self, out: Path) -> Result:
        self._prepare()
        results = Results(accuracy=None, controls={}, checkpoint="last")
        document: AuditDocument | None = None
        try:
            self._distil()
            if self.spec.evaluation.repeats:
                results = self._evaluate()
            self.callback.on_phase("finalizing", None)
            if self._audits:
                document = audit(self.context, self.probe, *self._finished)
        except _FinishNow:
            without = "unscored" if results.accuracy is None else "without an audit"
            self.callback.on_log("info", f"finishing early, {without}, with the images of step {self.step}")
            self.callback.on_phase("finalizing", None)
        own: dict[str, Any] = {
            "steps": self.step,
            "probe": self.probe.report(self._reading),
            "audit": self._audited(document),
        }
        if self.at_step is not None:
            own |= {"checkpoint": "best", "at_step": self.at_step}
        if self.evaluation.controls.teacher_report is not None:
            own["teacher"] = self.evaluation.controls.teacher_report
        if self.parent is not None:
            own["lineage"] = self.parent.lineage(self.spec)
        results = results.model_copy(update=own)
        results = bundle.write(out, self._distilled(results)).results
        if document is not None:
            bundle.write_audit(out, document, self._finished[0], self.context.dataset.train)
        return Result(out, results, self.step)

    def _prepare(self) -> None:
        self.producer.prepare()
        for weighted in self.regularizers:
            weighted.regularizer.prepare()
        self.probe.prepare()
        self.evaluation.prepare()
        self.synthetic = self.producer.start()
        self._resume()
        self._ready = True
        self._reading = self.probe.read(self._whole)
        if self.step == 0:
            self.callback.on_metrics(0, self._reading)
            self._snapshot()

    def _distil(self) -> None:
        total = self.spec.method.iterations
        self.callback.on_phase("distilling", total)
        self.callback.on_progress(self.step, total)
        self._check_stop()
        if isinstance(self.producer, Method):
            self._learn(self.producer, total)
        else:
            self._look(self.during)
        if self._hold_at is not None:
            self._hold()
        if self.during is not None:
            self._choose(self.during)

    def _choose(self, during: During) -> None:
        """Deliver the images of the best scoring where the job asks for that; the last ones stay otherwise."""
        if during.plateau:
            message = f"no scoring after step {during.best.step if during.best else 0} was better: a plateau"
            self.callback.on_log("info", f"the distillation ends at step {self.step}; {message}")
        self.at_step = during.restore_best(self.synthetic)
        if self.at_step is not None:
            self.callback.on_log("info", f"the images of step {self.at_step} are delivered, the best on validation")

    def _look(self, during: During | None, *, over: bool = False) -> bool:
        """Score the images where that is due, or the method is done early; whether it ends the distillation."""
        if during is None:
            return False
        if during.due(self.step, over=over):
            self.callback.on_metrics(self.step, during.look(self.step, self.synthetic))
        return during.plateau

    def _learn(self, method: Method[Any, Step], total: int) -> None:
        """The loop: one step of the images at a time, until all are taken or the method is done."""
        # An interruption may have come between a step and its scoring.
        ended = self._look(self.during)
        goal = total if self._hold_at is None else min(total, self._hold_at)
        while self.step < goal and not ended and not method.finished():
            method.enter(self.step, self.synthetic)
            readings = self._take_step(method)
            self.step += 1
            ended = self._look(self.during, over=method.finished())
            last = ended or self.step == total or method.finished()
            if last or self.step == 1 or self.step % self.spec.metrics.every == 0:
                self._report(readings)
            if last or self.step % self.spec.snapshots.every == 0:
                self._snapshot()
            self.callback.on_progress(self.step, total)
            if last or self._checkpoint_due():
                self._save()
            self._check_stop()

    def _take_step(self, method: Method[Any, Step]) -> Readings:
        synthetic = self.synthetic
        synthetic.begin_step()
        step = method.draw(self.step, synthetic)
        readings = _named_for_users(method.backward(step))
        method_norm = self._pulls.note(METHOD, readings, synthetic)
        for weighted in self.regularizers:
            of_term = weighted.backward(step, method_norm)
            self._pulls.note(weighted.name, of_term, synthetic)
            readings = {**readings, **of_term}
        self._pulls.check(self.step + 1)
        synthetic.step()
        synthetic.check_finite(self.step + 1, self.context.steps_path)
        readings |= method.advance(step) or {}
        for weighted in self.regularizers:
            weighted.regularizer.advance(step)
        return readings

    def _report(self, readings: Mapping[str, Tensor]) -> None:
        values = {name: float(value) for name, value in readings.items()}
        if self.regularizers:
            terms = [values[f"weight/{term.name}"] * values[f"loss/{term.name}"] for term in self.regularizers]
            values[LOSS_TOTAL] = values[LOSS] + sum(terms)
        self._reading = self.probe.read(self._whole)
        self.callback.on_metrics(self.step, {**values, **self._reading})

    def _snapshot(self) -> None:
        synthetic, classes = self.synthetic, self.context.dataset.classes
        shown = self.context.dataset.denormalize(synthetic.decoder.shown(synthetic.stored.detach(), synthetic.ipc))
        if self.parent is not None:
            shown = self.parent.joined(shown, self.parent.content.shown()[0])
        labels = torch.arange(len(classes)).repeat_interleave(len(shown) // len(classes))
        self.callback.on_snapshot(self.step, bundle.preview_png(shown, labels, classes))

    @cached_property
    def _finished(self) -> tuple[Tensor, Tensor]:
        """The synthetic images when they are done, in pixel units as the bundle stores them, and their labels."""
        images, labels = self.synthetic.finished()
        pixels = self.context.dataset.denormalize(images)
        if self.parent is None:
            return pixels, labels
        return self.parent.joined(pixels, self.parent.content.images), self._whole.finished()[1]

    def _stored_pixels(self) -> Tensor | None:
        """What a decoder makes those images of, in pixel units; nothing where they are stored themselves."""
        stored = self.context.dataset.denormalize(self.synthetic.stored.detach())
        if self.synthetic.decoder.views == 1:
            return None
        if self.parent is not None:
            stored = self.parent.joined(stored, self.parent.content.shown()[0])
        return stored.cpu()

    def _checkpoint_due(self) -> bool:
        every = self.spec.checkpoints.every
        return self._long_unsaved() if every is None else self.step % every == 0

    def _long_unsaved(self) -> bool:
        return time.monotonic() - self._saved_at >= self.spec.checkpoints.seconds

    def _check_stop(self) -> None:
        """End the run if the callback asks for it; before there are images there is nothing to finish."""
        stop = self.callback.should_stop()
        if stop is Stop.FINALIZE and self._ready:
            raise _FinishNow
        if stop is not None:
            raise Interrupted(self.step, self._save() if self._ready else None)

    def _hold(self) -> NoReturn:
        """Stop here, with the state saved."""
        raise Held(self.step, self._save())

    def _stateful(self) -> Iterator[tuple[str, Stateful | SyntheticSet | WeightedTerm | Randomness | During]]:
        yield "synthetic", self.synthetic
        yield "random", self.making.random
        yield "real_batches", self.making.real_batches
        yield "method", self.producer
        for weighted in self.regularizers:
            yield f"regularizer/{weighted.name}", weighted
        if self.during is not None:
            yield "during", self.during

    def _save(self) -> Path:
        tensors = {f"{name}/{key}": value for name, part in self._stateful() for key, value in part.state().items()}
        facts = {"spec": self._spec_digest(self.spec), "scores": self.scores, "probe": self.probe.digest}
        path, digest = save_checkpoint(
            self.checkpoints, Checkpoint(self.step, tensors, facts), keep=self.spec.checkpoints.keep
        )
        self._saved_at = time.monotonic()
        self.callback.on_checkpoint(self.step, path, digest)
        return path

    def _resume(self) -> None:
        checkpoint, complaints = newest_valid(self.checkpoints)
        for complaint in complaints:
            self.callback.on_log("warning", complaint)
        if checkpoint is None:
            return
        continues = self._continues(checkpoint)
        if checkpoint.facts["spec"] != self._spec_digest(self.spec) and not continues:
            raise CheckpointError(
                "the checkpoint in this run's folder belongs to another specification or dataset; "
                "use the specification it was started with, or an empty folder"
            )
        for name, part in self._stateful():
            part.load_state(checkpoint.part(name))
        self.step = checkpoint.step
        self.scores = [] if continues else checkpoint.facts["scores"]
        if checkpoint.facts.get("probe", self.probe.digest) != self.probe.digest:
            self.callback.on_log("warning", _OTHER_PROBE.format(step=self.step, digest=self.probe.digest))
        self.callback.on_resumed(self.step, checkpoint.facts["versions"] == versions())

    def _continues(self, checkpoint: Checkpoint) -> bool:
        """Whether a checkpoint is the last one of a job that differs in nothing but in taking fewer steps."""
        if not 0 < checkpoint.step < self.spec.method.iterations or not_extendable(self.spec):
            return False
        shorter = with_steps(self.spec, checkpoint.step)
        if checkpoint.facts["spec"] != self._spec_digest(shorter):
            return False
        device, dataset = self.context.compute.device.type, self.context.dataset
        if self._cost(shorter, dataset).compiles(device) != self._cost(self.spec, dataset).compiles(device):
            self.callback.on_log("warning", _OTHERWISE_COMPILED.format(step=checkpoint.step))
        return True

    def _spec_digest(self, spec: JobSpec) -> str:
        """What a checkpoint must agree on; how often things are reported may change."""
        # What `extends` names counts by its content, which another name, or a folder, may have too.
        fields = spec.model_dump_json(exclude={"metrics", "snapshots", "checkpoints", "extends"})
        extended = "" if self.parent is None else f"/{self.parent.digest}"
        return hashlib.sha256(f"{fields}/{self.context.dataset.digest}{extended}".encode()).hexdigest()

    @cached_property
    def _training_images(self) -> Tensor:
        """The images when they are done: through pixel units and back, so that a bundle holds these very numbers."""
        return self.context.dataset.normalize(self._finished[0])

    @cached_property
    def _soft_labels(self) -> Tensor | None:
        """The probabilities that the set learned, or else those of a teacher where the job asks for them."""
        learned = self.synthetic.soft_labels
        return self.evaluation.soft_labels(self._training_images) if learned is None else learned

    def _labelled_epochs(self, check_stop: Callable[[], None] | None = None) -> StoredLabels | None:
        """A teacher's labels of the batches of epochs, made once, where the job asks for such."""
        if self._epoch_labels is None:
            self._epoch_labels = self.evaluation.label_epochs(self._training_images, self._finished[1], check_stop)
        return self._epoch_labels

    def _evaluate(self) -> Results:
        return self.evaluation.score(
            self._training_images,
            self._finished[1],
            soft_labels=self._soft_labels,
            epoch_labels=self._labelled_epochs(self._check_stop),
            learning_rate=self.synthetic.learning_rate,
            stages=self.producer.stages(),
            done=self.scores,
            on_network=self._scored,
        )

    def _audited(self, document: AuditDocument | None) -> Audit:
        """What the results say of the images beside the real ones; only what follows from the job without an audit."""
        unmoved = self.step == 0 and self.spec.init != "noise"
        real_pixels = unmoved or self.spec.method.keeps_real_pixels
        return Audit(real_pixels=real_pixels) if document is None else summary(document, real_pixels=real_pixels)

    def _scored(self, score: NetworkScore) -> None:
        self.scores = [*self.scores, score]
        if self._long_unsaved():
            self._save()

    def _distilled(self, results: Results) -> bundle.Distilled:
        context = self.context
        pixels, labels = self._finished
        return bundle.Distilled(
            images=pixels.cpu(),
            labels=labels.cpu(),
            soft_labels=None if self._soft_labels is None else self._soft_labels.cpu(),
            teacher=self.evaluation.controls.stored_teacher,
            epoch_labels=self._labelled_epochs(),
            stored=self._stored_pixels(),
            parts={name: part.cpu() for name, part in self.synthetic.decoder.parts(self.synthetic.stored).items()},
            learning_rate=self.synthetic.learning_rate,
            stages=self.producer.stages(),
            spec=self.spec,
            dataset=bundle.DatasetReference.of(self._named),
            results=results,
            compute=context.compute.describe(),
            whitening=context.dataset.whitening,
        )


def _named_for_users(readings: Mapping[str, Tensor]) -> Readings:
    """Readings of a method under the names that they are reported by."""
    return {LOSS if name == LOSS_BASE else name: value for name, value in readings.items()}


def _check(spec: JobSpec, dataset: Dataset) -> None:
    """Refuse what only the loaded dataset can tell."""
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


def _sizes(dataset: Dataset, held: ImageSet | None = None) -> DataSizes:
    """What the work of a job depends on besides its specification."""
    held_out = () if held is None else held.class_counts
    return DataSizes(dataset.shape, dataset.class_counts, len(dataset.test), held_out)


@contextmanager
def _memory_errors() -> Iterator[None]:
    """Say what to do when memory runs out."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise OutOfMemoryError(
            f"memory ran out ({error}); lower `method.batch_real`, `ipc` or `network.width`, or use a larger device"
        ) from error
