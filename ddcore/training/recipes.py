"""From the fields of an evaluation to the recipe that networks are trained by."""

from __future__ import annotations

from dataclasses import replace

from ddcore.augment.siamese import Strategy
from ddcore.augment.training import Augmenter, augmenter_of, siamese, strategy_of
from ddcore.errors import ConfigurationError
from ddcore.runtime.context import Run
from ddcore.spec import EvaluationConfig, Labels
from ddcore.spec.results import LearningRateDrops, TrainingProtocol
from ddcore.training.trainer import Recipe


def recipe_of(
    config: EvaluationConfig, strategy: Strategy, augmenter: Augmenter = siamese, learning_rate: float | None = None
) -> Recipe:
    """The training recipe of an evaluation, with its schedule in epochs.

    Args:
        config: the evaluation.
        strategy: operations of augmentation.
        augmenter: how they are applied.
        learning_rate: that the set learned, for an evaluation that uses it.

    Raises:
        ConfigurationError: it is to be used, and is not there.

    >>> recipe = recipe_of(EvaluationConfig(epochs=300), ())
    >>> recipe.epochs, recipe.drops, recipe.drop_factor
    (301, (152,), 0.1)
    >>> recipe = recipe_of(EvaluationConfig(protocol="idc"), ())
    >>> recipe.epochs, recipe.drops, recipe.drop_factor
    (1000, (666, 833), 0.2)
    """
    lr = learning_rate if config.lr is None else config.lr
    if lr is None:
        raise ConfigurationError(
            "`evaluation.lr` is null, the learning rate that the set learned, but this set learned none; "
            "give `evaluation.lr` (0.01 is usual)"
        )
    recipe = Recipe(
        epochs=config.epochs,
        lr=lr,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
        batch_size=config.batch_size,
        optimizer=config.optimizer,
        strategy=strategy,
        augmenter=augmenter,
        cutmix=config.cutmix,
        temperature=config.temperature,
        label_loss=config.label_loss,
        trains=config.trains,
    )
    return scheduled(recipe, config, config.epochs)


def recipe_of_job(run: Run, learning_rate: float | None = None) -> Recipe:
    """The training recipe of a job's evaluation, with the augmentation that suits its images.

    Args:
        run: dataset and specification of the job.
        learning_rate: that the set learned, for an evaluation that uses it.

    Raises:
        ConfigurationError: it is to be used, and is not there.
    """
    config = run.spec.evaluation
    strategy = strategy_of(config, run.spec.augmentation, run.dataset.flip)
    return recipe_of(config, strategy, augmenter_of(config, run.dataset), learning_rate)


def scheduled(recipe: Recipe, config: EvaluationConfig, epochs: int) -> Recipe:
    """A recipe with the schedule that an evaluation has for an E of ``epochs``."""
    recipe = replace(recipe, epochs=config.passes(epochs))
    if config.schedule in ("drop_once", "drop_once_kept"):
        # After the epoch with the index E // 2 + 1: one more has been made by then.
        return replace(recipe, drops=(epochs // 2 + 2,), drop_factor=0.1, restarts=config.schedule == "drop_once")
    if config.schedule == "drop_twice":
        return replace(recipe, drops=(2 * epochs // 3, 5 * epochs // 6), drop_factor=0.2, restarts=False)
    if config.schedule == "halve_four_times":
        return replace(recipe, drops=tuple(n * epochs // 5 for n in range(1, 5)), drop_factor=0.5, restarts=False)
    half, whole = (config.schedule == name for name in ("half_cosine", "cosine"))
    return replace(recipe, drops=(), half_cosine=half, cosine=whole)


def described(config: EvaluationConfig, recipe: Recipe, labels: Labels) -> TrainingProtocol:
    """A recipe in words that need no source code to be read.

    Args:
        config: the evaluation.
        recipe: made of it.
        labels: that the distilled set is learned with.
    """
    of_batches = labels in ("online", "stored")
    softened = labels == "soft" or (of_batches and config.label_loss == "kl")
    optional: dict[str, str] = {}
    if of_batches:
        optional = {"label_loss": config.label_loss, "teacher_mode": config.teacher_mode}
    if recipe.half_cosine or recipe.cosine:
        optional["lr_schedule"] = config.schedule
    if recipe.trains == "head":
        optional["trains"] = recipe.trains
    drops = LearningRateDrops(after_passes=recipe.drops, factor=recipe.drop_factor, clears_momentum=recipe.restarts)
    return TrainingProtocol(
        name=config.protocol,
        optimizer=recipe.optimizer,
        passes=recipe.epochs,
        lr=recipe.lr,
        lr_is="given" if config.lr is not None else "learned with the set",
        lr_drops=drops if recipe.drops else None,
        momentum=recipe.momentum if recipe.optimizer == "sgd" else None,
        weight_decay=recipe.weight_decay,
        batch_size=recipe.batch_size,
        augmentation=recipe.strategy,
        augmenter=config.augmenter,
        cutmix=recipe.cutmix,
        labels=labels,
        temperature=recipe.temperature if softened else None,
        scored_on="test, all images, last pass",
        **optional,
    )
