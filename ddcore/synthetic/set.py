"""What is being learned: a few images per class, their labels and the optimiser that moves them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor

from ddcore.errors import DivergedError
from ddcore.synthetic.class_sgd import Rate
from ddcore.synthetic.clipping import RunningClip
from ddcore.synthetic.decoders import Decoder, Identity
from ddcore.synthetic.parameter import Learned, LearnedByClass, Longest


class SyntheticSet:
    """Synthetic images in normalised pixel space, class-major, with an optimiser on what is stored of them.

    Objectives look at images (``images``, ``images_of``), which a decoder makes of stored rows; gradients flow back
    to the rows and to whatever the decoder learns itself.

    A set that is learned in stages (:meth:`learn`) moves only some rows of each class at a time. Those before them are
    frozen: constants beside the learned tensor, which no optimiser, momentum or gradient reaches. Those behind them
    wait, and objectives do not see them.

    Args:
        stored: (C * ipc, ...) rows to start from, ordered by class; they are copied and never clamped.
        ipc: stored rows of each class.
        lr: learning rate of the rows, one number or a tensor that broadcasts to them; or what gives it for so many rows
            of each class as objectives see.
        momentum: of their SGD, 0 to 1; not for ``learned_by``.
        decoder: makes images of rows; by default every row is an image.
        class_steps: whether the optimiser of the rows steps once for each class instead of once for all.
        others: what else is learned, by name (``lr``: the rate to train on the images with; ``labels``: (C * ipc, C)
            weights of the classes, to train with; ``label_logits``: the same before a softmax); regularisers do not
            pull on it.
        max_norm: the gradient of everything learned is cut to this norm before a step; ``None`` for no cut.
        longest: limit of a step, see :class:`ddcore.synthetic.parameter.Learned`.
        learned_by: makes what learns the rows, from where they start and ``lr``; by default SGD with ``momentum``.
        clipping: cuts the gradient of what the images are made of before a step; ``None`` for no cut.

    Attributes:
        ipc: stored rows of each class.
        live: which of them are being learned, all unless :meth:`learn` says otherwise.
        per_class: images of each class that objectives see.
        labels: (C * per_class,) int64, ``0 … 0, 1 … 1, …``.
        moving: (C * per_class,) bool on the CPU: which images are made of rows that are being learned.
        decoder: makes images of rows.
        learned: every learned tensor by name, ``images`` (the rows) first.
    """

    def __init__(
        self,
        stored: Tensor,
        ipc: int,
        *,
        lr: Rate | Callable[[int], Rate],
        momentum: float = 0.0,
        decoder: Decoder | None = None,
        class_steps: bool = False,
        others: Mapping[str, Learned] | None = None,
        max_norm: float | None = None,
        longest: Longest | None = None,
        learned_by: Callable[..., Learned] | None = None,
        clipping: RunningClip | None = None,
    ) -> None:
        if len(stored) % ipc:
            raise ValueError(f"rows {tuple(stored.shape)} are not whole classes of {ipc}")
        self.ipc = ipc
        self.decoder = decoder or Identity()
        self.classes = len(stored) // ipc
        self._lr, self._momentum, self._class_steps = lr, momentum, class_steps
        self._others = dict(others or {})
        self._begun = {name: part.value.detach().clone() for name, part in self._others.items()}
        self._rows = stored.detach().to(torch.float32)
        self._soft_labels: Tensor | None = None
        self._max_norm = max_norm
        self._longest = longest
        self._learned_by = learned_by
        self._clipping = clipping
        self._resting = False
        self._make_live(range(ipc))

    def _make_live(self, live: range) -> None:
        """Have these rows of each class learned from where they stand, at rest."""
        self.live = live
        self.per_class = self.decoder.count(live.stop)
        self.labels = torch.arange(self.classes, device=self._rows.device).repeat_interleave(self.per_class)
        self.moving = (self.decoder.origins(live.stop) >= live.start).repeat(self.classes)
        start = self._of_class[:, live.start : live.stop].flatten(0, 1)
        rows = self._learning(start, live)
        if len(live) == self.ipc:
            self._rows = rows.value.detach()
        self._of_images = {"images": rows, **self.decoder.learned}
        self.learned: Mapping[str, Learned] = {**self._of_images, **self._others}

    def _learning(self, start: Tensor, live: range) -> Learned:
        """What learns the live rows from where they start."""
        lr = self._lr(live.stop) if callable(self._lr) else self._lr
        if self._learned_by is not None:
            return self._learned_by(start, lr=lr)
        if self._class_steps:
            return LearnedByClass(start, classes=self.classes, lr=lr, momentum=self._momentum)
        return Learned(start, lr=lr, momentum=self._momentum, longest=self._longest)

    def learn(self, live: range) -> None:
        """Learn some rows of each class from now on, keep those before them for good, and hide those behind them.

        What is learned beside the images (``lr``) starts again where it started.

        Args:
            live: rows within each class, within 0 to ``ipc``, at least one.

        Raises:
            ValueError: other rows, or a decoder whose own tensors would move frozen images.
        """
        if not 0 <= live.start < live.stop <= self.ipc:
            raise ValueError(f"rows {live.start} to {live.stop - 1} of {self.ipc} cannot be learned")
        if self.decoder.learned:
            raise ValueError("images whose decoder learns cannot be frozen")
        self._rows = self.stored.detach().clone()
        for name, part in self._others.items():
            part.restart(self._begun[name])
        self._make_live(live)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def device(self) -> torch.device:
        """Where the set lives."""
        return self.labels.device

    @property
    def _of_class(self) -> Tensor:
        """(C, ipc, ...) rows as they were when the live ones began to be learned."""
        rows: Tensor = self._rows.unflatten(0, (self.classes, self.ipc))
        return rows

    @property
    def stored(self) -> Tensor:
        """(C * ipc, ...) rows, differentiable in those that are learned; the leaf tensor itself where all are."""
        live, moving = self.live, self.learned["images"].value
        if len(live) == self.ipc:
            return moving
        parts = [self._of_class[:, : live.start], moving.unflatten(0, (self.classes, len(live)))]
        return torch.cat([*parts, self._of_class[:, live.stop :]], dim=1).flatten(0, 1)

    def _seen(self, classes: range) -> Tensor:
        """Rows of some classes that objectives see: all but those that wait."""
        live, moving = self.live, self.learned["images"].value
        if len(classes) < self.classes:
            moving = moving[classes.start * len(live) : classes.stop * len(live)]
        if not live.start:
            return moving
        frozen = self._of_class[classes.start : classes.stop, : live.start]
        return torch.cat([frozen, moving.unflatten(0, (len(classes), len(live)))], dim=1).flatten(0, 1)

    @property
    def moving_images(self) -> Tensor:
        """The images made of rows that are being learned, differentiable to them; all where nothing is frozen."""
        return self.images[self.moving] if self.live.start else self.images

    @property
    def soft_labels(self) -> Tensor | None:
        """(C * per_class, C) float32 weights of the classes to train with instead of ``labels``, as constants.

        Probabilities that a method has set, or what is learned as ``labels`` or ``label_logits``; ``None`` where there
        is none of them.
        """
        logits, learned = self._others.get("label_logits"), self._others.get("labels")
        if logits is not None:
            return logits.value.detach().softmax(dim=1)
        return self._soft_labels if learned is None else learned.value.detach()

    @soft_labels.setter
    def soft_labels(self, probabilities: Tensor | None) -> None:
        self._soft_labels = probabilities

    @property
    def training_labels(self) -> Tensor:
        """Labels to train with: ``soft_labels`` where there are any, otherwise ``labels``."""
        return self.labels if self.soft_labels is None else self.soft_labels

    @property
    def images(self) -> Tensor:
        """All (C * per_class, channels, H, W) images, differentiable to the rows."""
        return self.decoder.decode(self._seen(range(self.classes)), self.live.stop)

    def images_of(self, classes: range) -> Tensor:
        """Images of consecutive classes, (len(classes) * per_class, channels, H, W), differentiable to the rows."""
        return self.decoder.decode(self._seen(classes), self.live.stop)

    def labels_of(self, classes: range) -> Tensor:
        """Labels of those images."""
        return self.labels[classes.start * self.per_class : classes.stop * self.per_class]

    @property
    def learning_rate(self) -> float | None:
        """That the set learned for networks to be trained with, as ``lr``; ``None`` where it learned none."""
        return float(self.learned["lr"].value.detach()) if "lr" in self.learned else None

    def finished(self) -> tuple[Tensor, Tensor]:
        """Images (C * n, channels, H, W) and labels (C * n,) to be scored and delivered, as constants.

        They are those that objectives see, and those that wait; more of them where the decoder saves work.
        """
        return self.union(self.ipc)

    @torch.no_grad()
    def union(self, rows: int) -> tuple[Tensor, Tensor]:
        """Likewise of the first stored rows of each class alone.

        Args:
            rows: how many, 1 to ``ipc``.
        """
        decoder = self.decoder.finished
        stored = self.stored.detach().unflatten(0, (self.classes, self.ipc))[:, :rows].flatten(0, 1)
        labels = torch.arange(self.classes, device=self.device).repeat_interleave(decoder.count(rows))
        return decoder.decode(stored, rows), labels

    def class_groups(self, images: int) -> Iterator[range]:
        """Groups of consecutive classes with at most ``images`` images each, but at least one class.

        As few groups as that allows, and of even size, so that few batch sizes occur.
        """
        at_most = max(1, images // self.per_class)
        groups = -(-self.classes // at_most)
        size = -(-self.classes // groups)
        for first in range(0, self.classes, size):
            yield range(first, min(first + size, self.classes))

    @property
    def gradient(self) -> Tensor:
        """Gradient of the rows accumulated so far in this step, zeros where no objective has added any."""
        return self.learned["images"].gradient

    def gradient_norm(self) -> Tensor:
        """Norm (a scalar) of the gradient in everything that the images are made of."""
        norm: Tensor = torch.stack([part.gradient.norm() for part in self._of_images.values()]).norm()
        return norm

    def take_gradient(self) -> list[Tensor]:
        """Remove and return the gradient in everything that the images are made of."""
        gradients = [part.gradient for part in self._of_images.values()]
        for part in self._of_images.values():
            part.clear_gradient()
        return gradients

    def add_gradient(self, gradients: Sequence[Tensor], weight: float = 1.0) -> None:
        """Add ``weight`` times what :meth:`take_gradient` returned."""
        for part, gradient in zip(self._of_images.values(), gradients, strict=True):
            part.gradient.add_(gradient, alpha=weight)

    def clear_gradient(self) -> None:
        """Forget all gradients."""
        for part in self.learned.values():
            part.clear_gradient()

    def begin_step(self) -> None:
        """Be where the gradient of the coming step is to be taken, with no gradient yet."""
        self._resting = False
        self.clear_gradient()
        for part in self.learned.values():
            part.begin_step()

    def rest(self) -> None:
        """Have the step that has begun move nothing, whatever its gradient."""
        self._resting = True

    @property
    def resting(self) -> bool:
        """Whether the step that has begun moves nothing."""
        return self._resting

    def step(self) -> None:
        """Take one optimiser step on everything that is learned."""
        if self._resting:
            return
        if self._clipping is not None:
            self._clipping.cut_(part.gradient for part in self._of_images.values())
        if self._max_norm is not None:
            parts = [part.value for part in self.learned.values() if part.value.grad is not None]
            torch.nn.utils.clip_grad_norm_(parts, self._max_norm)
        for part in self.learned.values():
            part.step()

    def check_finite(self, step: int, steps_path: str = "method") -> None:
        """Refuse tensors that have become NaN or infinite, so that no checkpoint ever holds them.

        Args:
            step: number of the step, from 1.
            steps_path: where in the job the fields of the method stand.

        Raises:
            DivergedError: naming the step, and the first class concerned where it is the images.
        """
        for name, part in self.learned.items():
            value = part.value.detach()
            if bool(torch.isfinite(value.sum())) or bool(torch.isfinite(value).all()):
                continue
            where = ""
            if name == "images":
                row = int((~torch.isfinite(value)).flatten(1).any(dim=1).nonzero()[0])
                where = f" (class {row // len(self.live)})"
            rate = {"lr": "lr_lr", "labels": "lr_labels", "label_logits": "lr_labels"}.get(name, "lr_img")
            remedy = f"`{steps_path}.{rate}`" + (" or the regulariser weights" if rate == "lr_img" else "")
            raise DivergedError(
                f"the synthetic {name} became NaN or infinite at step {step}{where}; those of the last checkpoint are "
                f"kept. Lower {remedy}, or use `precision`: 'fp32'"
            )

    def state(self) -> dict[str, Tensor]:
        """Tensors that a checkpoint keeps."""
        kept = {f"{name}/{key}": t for name, part in self.learned.items() for key, t in part.state().items()}
        if self._soft_labels is not None:
            kept["soft_labels"] = self._soft_labels
        if len(self.live) < self.ipc:
            kept |= {"rows": self._rows, "live": torch.tensor([self.live.start, self.live.stop])}
        if self._clipping is not None:
            kept |= {f"clipping/{key}": t for key, t in self._clipping.state().items()}
        return kept

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Continue from a checkpoint's tensors."""
        if self._soft_labels is not None:
            self._soft_labels = state["soft_labels"].to(self.device)
        if "live" in state:
            self._rows = state["rows"].to(self.device)
            self._make_live(range(*state["live"].tolist()))
        for name, part in self.learned.items():
            part.load_state({key: state[f"{name}/{key}"] for key in part.state()})
        if self._clipping is not None:
            self._clipping.load_state({key: state[f"clipping/{key}"] for key in self._clipping.state()})
