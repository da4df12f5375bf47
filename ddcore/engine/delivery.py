"""From the images when they are done to a bundle: in pixel units, with their labels, scores and audit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor

from ddcore import bundle
from ddcore.engine.preparation import Prepared
from ddcore.evaluation.audit import audit, summary
from ddcore.evaluation.evaluation import Evaluation
from ddcore.evaluation.plan import NetworkScore
from ddcore.runtime.objective import Producer
from ddcore.spec.audit import AuditDocument
from ddcore.spec.results import Audit, Results
from ddcore.synthetic.set import SyntheticSet
from ddcore.training.stored_labels import StoredLabels


class Delivery:
    """What becomes of the images of a run, which are read when they are asked for and then stay.

    Args:
        prepared: the job.
        producer: what made them.
        synthetic: the images.
        evaluation: scores them.
    """

    def __init__(
        self, prepared: Prepared, producer: Producer[Any], synthetic: SyntheticSet, evaluation: Evaluation
    ) -> None:
        self._prepared, self._producer = prepared, producer
        self._synthetic, self._evaluation = synthetic, evaluation
        self._epoch_labels: StoredLabels | None = None

    @cached_property
    def _finished(self) -> tuple[Tensor, Tensor]:
        """The synthetic images, in pixel units as the bundle stores them, and their labels."""
        parent, (images, labels) = self._prepared.parent, self._synthetic.finished()
        pixels = self._prepared.whole.dataset.denormalize(images)
        if parent is None:
            return pixels, labels
        return parent.joined(pixels, parent.content.images), self._prepared.read(self._synthetic).finished()[1]

    @cached_property
    def _training_images(self) -> Tensor:
        """The images through pixel units and back, so that a bundle holds these very numbers."""
        return self._prepared.whole.dataset.normalize(self._finished[0])

    @cached_property
    def _soft_labels(self) -> Tensor | None:
        """The probabilities that the set learned, or else those of a teacher where the job asks for them."""
        learned = self._synthetic.soft_labels
        return self._evaluation.soft_labels(self._training_images) if learned is None else learned

    def _labelled_epochs(self, check_stop: Callable[[], None] | None = None) -> StoredLabels | None:
        """A teacher's labels of the batches of epochs, made once, where the job asks for such."""
        if self._epoch_labels is None:
            self._epoch_labels = self._evaluation.label_epochs(self._training_images, self._finished[1], check_stop)
        return self._epoch_labels

    def _stored_pixels(self) -> Tensor | None:
        """What a decoder makes those images of, in pixel units; nothing where they are stored themselves."""
        if self._synthetic.decoder.views == 1:
            return None
        parent = self._prepared.parent
        stored = self._prepared.whole.dataset.denormalize(self._synthetic.stored.detach())
        if parent is not None:
            stored = parent.joined(stored, parent.content.shown()[0])
        return stored.cpu()

    def score(self, done: Sequence[NetworkScore], on_network: Callable[[NetworkScore], None]) -> Results:
        """Score the images, see :meth:`ddcore.evaluation.evaluation.Evaluation.score`."""
        return self._evaluation.score(
            self._training_images,
            self._finished[1],
            soft_labels=self._soft_labels,
            epoch_labels=self._labelled_epochs(self._prepared.whole.check_stop),
            learning_rate=self._synthetic.learning_rate,
            stages=self._producer.stages(),
            done=done,
            on_network=on_network,
        )

    def audit(self) -> AuditDocument:
        """Compare the images with the real ones, see :func:`ddcore.evaluation.audit.audit`."""
        return audit(self._prepared.whole, self._prepared.probe, *self._finished)

    def write(self, out: Path, results: Results, document: AuditDocument | None) -> Results:
        """Write the bundle.

        Args:
            out: folder that receives its files.
            results: what the run says of itself: steps, probe, and scores where there are some.
            document: the audit, where there is one.

        Returns:
            The results with what follows from the images, and how large they are.
        """
        parent, controls = self._prepared.parent, self._evaluation.controls
        own: dict[str, Any] = {"audit": self._audited(results.steps, document)}
        if controls.teacher_report is not None:
            own["teacher"] = controls.teacher_report
        if controls.backbone_report is not None:
            own["backbone"] = controls.backbone_report
        if parent is not None:
            own["lineage"] = parent.lineage(self._prepared.spec)
        written = bundle.write(out, self._content(results.model_copy(update=own))).results
        if document is not None:
            bundle.write_audit(out, document, self._finished[0], self._prepared.whole.dataset.train)
        return written

    def _audited(self, steps: int | None, document: AuditDocument | None) -> Audit:
        """What the results say of the images beside the real ones; only what follows from the job without an audit."""
        spec = self._prepared.spec
        unmoved = steps == 0 and spec.init != "noise"
        real_pixels = unmoved or spec.method.keeps_real_pixels
        return Audit(real_pixels=real_pixels) if document is None else summary(document, real_pixels=real_pixels)

    def _content(self, results: Results) -> bundle.Distilled:
        prepared, synthetic = self._prepared, self._synthetic
        pixels, labels = self._finished
        return bundle.Distilled(
            images=pixels.cpu(),
            labels=labels.cpu(),
            soft_labels=None if self._soft_labels is None else self._soft_labels.cpu(),
            teacher=self._evaluation.controls.stored_teacher,
            epoch_labels=self._labelled_epochs(),
            stored=self._stored_pixels(),
            parts={name: part.cpu() for name, part in synthetic.decoder.parts(synthetic.stored).items()},
            learning_rate=synthetic.learning_rate,
            stages=self._producer.stages(),
            spec=prepared.spec,
            dataset=bundle.DatasetReference.of(prepared.named),
            results=results,
            compute=prepared.whole.compute.describe(),
            whitening=prepared.whole.dataset.whitening,
        )
