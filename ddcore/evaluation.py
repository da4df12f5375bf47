"""Score a distilled set: train fresh networks on it from scratch, beside a control of the same size.

The protocol is that of the literature (methods/matching, A3): SGD for E + 1 passes; after the pass
with index floor(E / 2) + 1 the learning rate drops to a tenth and the momentum is cleared; accuracy of
the last pass on the whole test set, without augmentation there. Every network has seeds of its own, so
an interrupted evaluation goes on with the next network and ends with the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import fmean, pstdev
from typing import Any

import torch
from torch import Tensor

from ddcore import nets
from ddcore.compute import Compute
from ddcore.data.augment import Strategy, strategy_for
from ddcore.data.images import Dataset
from ddcore.data.sampling import ClassSampler
from ddcore.hooks import Callback
from ddcore.nets.functional import Functional
from ddcore.randomness import stream_seed
from ddcore.spec import EvaluationConfig, NetworkConfig
from ddcore.train import LR_DROP, Recipe, accuracy, train

DISTILLED = "distilled"
"""What a network is trained on when it is not a control."""

Score = dict[str, Any]
"""One finished network: ``network`` (index of its architecture), ``set``, ``repeat`` and ``accuracy`` (percent)."""


@dataclass(frozen=True)
class _Trial:
    """One network to train: which architecture, on which set, and which repetition."""

    network: int
    set: str
    repeat: int

    def seed(self, seed: int) -> int:
        return stream_seed(seed, f"evaluation/{self.network}/{self.set}/{self.repeat}")


def evaluate(
    images: Tensor,
    labels: Tensor,
    dataset: Dataset,
    config: EvaluationConfig,
    *,
    network: NetworkConfig,
    augmentation: str,
    compute: Compute,
    seed: int,
    control_ipc: int | None = None,
    learning_rate: float | None = None,
    done: Sequence[Score] = (),
    on_network: Callable[[Score], None] | None = None,
    callback: Callback | None = None,
    check_stop: Callable[[], None] | None = None,
) -> dict[str, Any]:
    """Train and score ``config.repeats`` networks of each architecture on a set and on each control.

    Args:
        images: (N, C, H, W) float32 in normalised units.
        labels: (N,) int64, or (N, classes) probabilities.
        dataset: its test images score, its training images provide the controls.
        config: architectures, repetitions and training recipe.
        network: the architecture where ``config`` names none.
        augmentation: of the training images where ``config`` names none.
        compute: device, precision and compilation.
        seed: decides initial weights, order, augmentation and controls.
        control_ipc: real images of each class in a control; by default as many as the set has. A decoder makes more
            images of the same storage, and storage is what controls are compared by.
        learning_rate: learned with the images, and used instead of that of ``config``, for the controls as well.
        done: scores of an earlier, interrupted call with the same arguments; they are not computed again.
        on_network: told each new score.
        callback: told of progress, in training epochs.
        check_stop: called after every training step; may raise to end the evaluation.

    Returns:
        The ``results`` object of a manifest: ``accuracy`` {mean, std (population), networks, values} in
        percent or ``None`` without repeats, ``controls`` by name likewise, ``network``, ``epochs``,
        ``checkpoint``, ``protocol``, and ``architectures`` where there are several.

    Raises:
        ConfigurationError: an architecture does not fit the images.
        DivergedError: a network's loss became NaN or infinite.
    """
    observer = callback or Callback()
    architectures = config.networks or (network,)
    recipe = published_recipe(config, strategy_for(config.augmentation or augmentation, dataset.flip))
    recipe = recipe if learning_rate is None else replace(recipe, lr=learning_rate)
    trials = _trials(config, len(architectures))
    scores = {_Trial(s["network"], s["set"], s["repeat"]): float(s["accuracy"]) for s in done}
    observer.on_phase("evaluating", len(trials) * recipe.epochs)
    functionals = [Functional(nets.build(a, dataset.shape, len(dataset.classes)), compute) for a in architectures]
    for position, trial in enumerate(trials):
        if trial in scores:
            continue
        generator = torch.Generator().manual_seed(trial.seed(seed))
        training_set = (images, labels)
        if trial.set != DISTILLED:
            training_set = random_subset(dataset, labels, generator, control_ipc)
        progress = _Progress(observer, position * recipe.epochs, len(trials) * recipe.epochs)
        scores[trial] = _score(
            functionals[trial.network], training_set, dataset, recipe, generator, progress, check_stop
        )
        if on_network is not None:
            on_network({**asdict(trial), "accuracy": scores[trial]})
    return _results(architectures, config, recipe, scores)


def published_recipe(config: EvaluationConfig, strategy: Strategy) -> Recipe:
    """The training recipe of methods/matching A3, with its E + 1 passes.

    >>> recipe = published_recipe(EvaluationConfig(epochs=300), ())
    >>> recipe.epochs, recipe.drop_after
    (301, 152)
    """
    return Recipe(
        epochs=config.epochs + 1,
        lr=config.lr,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
        batch_size=config.batch_size,
        drop_after=config.epochs // 2 + 2,
        strategy=strategy,
    )


def random_subset(
    dataset: Dataset, labels: Tensor, generator: torch.Generator, ipc: int | None = None
) -> tuple[Tensor, Tensor]:
    """Real training images, as many of each class as a set has, drawn uniformly without replacement.

    Args:
        dataset: its training images are drawn from; a class with too few gives all it has.
        labels: of the set to match, (N,) int64 or (N, classes) probabilities (the largest counts).
        generator: CPU generator.
        ipc: images of every class, whatever the set has.

    Returns:
        Normalised float32 images and int64 labels, class-major.
    """
    hard = labels.argmax(dim=1) if labels.is_floating_point() else labels
    wanted = torch.bincount(hard.cpu(), minlength=len(dataset.classes)).tolist()
    if ipc is not None:
        wanted = [ipc] * len(dataset.classes)
    sampler = ClassSampler(dataset.train.labels, len(dataset.classes))
    drawn = sampler.draw_each(max(wanted), generator)
    rows = torch.cat([of_class[:count] for of_class, count in zip(drawn, wanted, strict=True)])
    return dataset.normalize(dataset.train.images[rows]), dataset.train.labels[rows]


def summarize(values: Sequence[float]) -> dict[str, Any]:
    """Mean and population standard deviation (percent), as the literature reports them.

    >>> summarize([40.0, 44.0])
    {'mean': 42.0, 'std': 2.0, 'networks': 2, 'values': [40.0, 44.0]}
    """
    return {"mean": fmean(values), "std": pstdev(values), "networks": len(values), "values": list(values)}


@dataclass(frozen=True)
class _Progress:
    """Reports one network's epochs as part of the whole evaluation."""

    callback: Callback
    before: int
    total: int

    def __call__(self, epoch: int) -> None:
        self.callback.on_progress(self.before + epoch, self.total)


def _score(
    functional: Functional,
    training_set: tuple[Tensor, Tensor],
    dataset: Dataset,
    recipe: Recipe,
    generator: torch.Generator,
    progress: _Progress,
    check_stop: Callable[[], None] | None,
) -> float:
    params = functional.new(generator)
    train(functional, params, *training_set, recipe, generator, on_epoch=progress, check_stop=check_stop)
    return accuracy(functional, params, dataset.test.images, dataset.test.labels, normalize=dataset.normalize)


def _trials(config: EvaluationConfig, architectures: int) -> list[_Trial]:
    return [
        _Trial(network, name, repeat)
        for network in range(architectures)
        for name in (DISTILLED, *config.controls)
        for repeat in range(config.repeats)
    ]


def _results(
    architectures: Sequence[NetworkConfig], config: EvaluationConfig, recipe: Recipe, scores: Mapping[_Trial, float]
) -> dict[str, Any]:
    def summary(network: int, name: str) -> dict[str, Any] | None:
        values = [scores[_Trial(network, name, repeat)] for repeat in range(config.repeats)]
        return summarize(values) if values else None

    entries = [
        {
            "network": architecture.model_dump(mode="json"),
            "accuracy": summary(index, DISTILLED),
            "controls": {name: summary(index, name) for name in config.controls},
        }
        for index, architecture in enumerate(architectures)
    ]
    results = {**entries[0], "epochs": config.epochs, "checkpoint": "last", "protocol": _protocol(recipe)}
    return {**results, "architectures": entries} if len(entries) > 1 else results


def _protocol(recipe: Recipe) -> dict[str, Any]:
    """The recipe in words that need no source code to be read."""
    return {
        "optimizer": "sgd",
        "passes": recipe.epochs,
        "lr": recipe.lr,
        "lr_drop": {"after_passes": recipe.drop_after, "factor": LR_DROP, "clears_momentum": True},
        "momentum": recipe.momentum,
        "weight_decay": recipe.weight_decay,
        "batch_size": recipe.batch_size,
        "augmentation": list(recipe.strategy),
        "scored_on": "test, all images, last pass",
    }
