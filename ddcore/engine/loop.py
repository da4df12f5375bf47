"""The one loop that every method and regulariser runs in."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor

from ddcore import bundle
from ddcore.engine.checkpoints import Checkpoints, HasState
from ddcore.engine.delivery import Delivery
from ddcore.engine.preparation import prepare
from ddcore.errors import Held, Interrupted
from ddcore.evaluation.during import During
from ddcore.evaluation.evaluation import Evaluation
from ddcore.evaluation.plan import NetworkScore
from ddcore.methods import build_producer
from ddcore.regularizers import build_regularizer
from ddcore.regularizers.strength import WeightedTerm
from ddcore.runtime.callback import Callback, Stop
from ddcore.runtime.nonfinite import METHOD, NonFiniteGuard
from ddcore.runtime.objective import Method, Readings, Step
from ddcore.spec import JobSpec
from ddcore.spec.audit import AuditDocument
from ddcore.spec.readings import LOSS, LOSS_BASE, LOSS_TOTAL
from ddcore.spec.results import Results


class _FinishNow(Exception):  # noqa: N818 - not a failure
    """The callback wants the images as they are."""


class Engine:
    """One run: owns the synthetic set and the step counter.

    Args:
        spec: what to do.
        run_dir: folder of this run's checkpoints.
        data_root: folder of named datasets.
        cache: folder shared by runs.
        backbones: folder of the weights of networks that others trained.
        parent: folder of the bundle that the job extends.
        callback: told what happens; may ask the run to stop.
        hold_at: stop once so many steps are taken.

    Raises:
        DataError: the dataset is missing or unfit.
        ConfigurationError: the specification cannot be run on this dataset or machine.
    """

    def __init__(
        self,
        spec: JobSpec,
        run_dir: Path,
        *,
        data_root: Path | None,
        cache: Path | None,
        backbones: Path | None,
        parent: Path | None,
        callback: Callback,
        hold_at: int | None,
    ) -> None:
        self.callback = callback
        self.step = 0
        self.scores: list[NetworkScore] = []
        self.at_step: int | None = None
        self._hold_at = hold_at
        folder = run_dir / "checkpoints"
        self._ready = False
        begun = time.monotonic()
        self.prepared = prepared = prepare(
            spec,
            data_root=data_root,
            cache=cache,
            backbones=backbones,
            parent=parent,
            callback=callback,
            check_stop=self._check_stop,
            fresh=not folder.is_dir(),
        )
        self._checkpoints = Checkpoints(folder, prepared, self._parts, since=begun)
        self.spec = spec = prepared.spec
        self.producer = build_producer(spec.method, prepared.making)
        self.regularizers = [WeightedTerm(build_regularizer(r, prepared.making)) for r in spec.regularizers]
        self._guard = NonFiniteGuard(prepared.whole.steps_path, spec.method.matcher.rates)
        self.evaluation = Evaluation(prepared.whole)
        cost, during = prepared.cost(spec), spec.evaluation.during
        self.during: During | None = None
        if during is not None:
            self.during = During(prepared.whole, during, cost.looks, self.evaluation, prepared.held)
        self._audits = cost.audited

    def run(self, out: Path) -> Results:
        """Distil, evaluate, and write the bundle into a folder; its results."""
        self._begin()
        delivery = Delivery(self.prepared, self.producer, self.synthetic, self.evaluation)
        results = Results(accuracy=None, controls={}, checkpoint="last")
        document: AuditDocument | None = None
        try:
            self._distil()
            if self.spec.evaluation.repeats:
                results = delivery.score(self.scores, self._scored)
            self.callback.on_phase("finalizing", None)
            if self._audits:
                document = delivery.audit()
        except _FinishNow:
            without = "unscored" if results.accuracy is None else "without an audit"
            self.callback.on_log("info", f"finishing early, {without}, with the images of step {self.step}")
            self.callback.on_phase("finalizing", None)
        own: dict[str, Any] = {"steps": self.step, "probe": self.prepared.probe.report(self._reading)}
        if self.at_step is not None:
            own |= {"checkpoint": "best", "at_step": self.at_step}
        return delivery.write(out, results.model_copy(update=own), document)

    def _begin(self) -> None:
        """Train what is needed before the first step, and go on from the newest checkpoint."""
        self.producer.prepare()
        for weighted in self.regularizers:
            weighted.regularizer.prepare()
        self.prepared.probe.prepare()
        self.evaluation.prepare()
        self.synthetic = self.producer.start()
        self.step, self.scores = self._checkpoints.resume()
        self._ready = True
        self._reading = self.prepared.probe.read(self.prepared.read(self.synthetic))
        if self.step == 0:
            self.callback.on_metrics(0, self._reading)
            self._snapshot()

    def _parts(self) -> Iterator[tuple[str, HasState]]:
        """What changes from step to step."""
        yield "synthetic", self.synthetic
        yield "random", self.prepared.making.random
        yield "real_batches", self.prepared.making.real_batches
        yield "method", self.producer
        for weighted in self.regularizers:
            yield f"regularizer/{weighted.name}", weighted
        if self.during is not None:
            yield "during", self.during

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
            if last or self._checkpoints.due(self.step):
                self._save()
            self._check_stop()

    def _take_step(self, method: Method[Any, Step]) -> Readings:
        synthetic = self.synthetic
        synthetic.begin_step()
        step = method.draw(self.step, synthetic)
        readings = _named_for_users(method.backward(step))
        method_norm = self._guard.note(METHOD, readings, synthetic)
        for weighted in self.regularizers:
            of_term = weighted.backward(step, method_norm)
            self._guard.note(weighted.name, of_term, synthetic)
            readings = {**readings, **of_term}
        self._guard.check(self.step + 1)
        synthetic.step()
        synthetic.check_finite(self.step + 1, self.prepared.whole.steps_path)
        readings |= method.advance(step) or {}
        for weighted in self.regularizers:
            weighted.regularizer.advance(step)
        return readings

    def _report(self, readings: Mapping[str, Tensor]) -> None:
        values = {name: float(value) for name, value in readings.items()}
        if self.regularizers:
            terms = [values[f"weight/{term.name}"] * values[f"loss/{term.name}"] for term in self.regularizers]
            values[LOSS_TOTAL] = values[LOSS] + sum(terms)
        self._reading = self.prepared.probe.read(self.prepared.read(self.synthetic))
        self.callback.on_metrics(self.step, {**values, **self._reading})

    def _snapshot(self) -> None:
        synthetic, parent, dataset = self.synthetic, self.prepared.parent, self.prepared.whole.dataset
        shown = dataset.denormalize(synthetic.decoder.shown(synthetic.stored.detach(), synthetic.ipc))
        if parent is not None:
            shown = parent.joined(shown, parent.content.shown()[0])
        labels = torch.arange(len(dataset.classes)).repeat_interleave(len(shown) // len(dataset.classes))
        self.callback.on_snapshot(self.step, bundle.preview_png(shown, labels, dataset.classes))

    def _scored(self, score: NetworkScore) -> None:
        self.scores = [*self.scores, score]
        if self._checkpoints.long_unsaved():
            self._save()

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

    def _save(self) -> Path:
        return self._checkpoints.save(self.step, self.scores)


def _named_for_users(readings: Mapping[str, Tensor]) -> Readings:
    """Readings of a method under the names that they are reported by."""
    return {LOSS if name == LOSS_BASE else name: value for name, value in readings.items()}
