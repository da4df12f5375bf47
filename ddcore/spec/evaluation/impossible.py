"""What in a job cannot be scored as it asks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ddcore.spec.backbones import two_networks
from ddcore.spec.errors import Problem
from ddcore.spec.teachers import TeacherConfig
from ddcore.spec.work import DataSizes

if TYPE_CHECKING:
    from ddcore.spec.job import JobSpec


def unscorable(job: JobSpec) -> Iterator[Problem]:
    """What its evaluation cannot be made of."""
    for part in (_recipe, _backbone, _labels, _other_teachers, _stored_labels, _worth, _scores, _during):
        yield from part(job)


def _recipe(job: JobSpec) -> Iterator[Problem]:
    """A learned rate, stages and a teacher's architecture where there are none of these."""
    config = job.evaluation
    if config.lr is None and not job.method.matcher.learns_lr:
        detail = (
            f"`lr` is null, the learning rate that the set learned (protocol '{config.protocol}'), but "
            f"`{job.method.matcher.name}` learns none; give `evaluation.lr` (0.01 is usual) or another protocol"
        )
        yield Problem("/evaluation/lr", "no_learned_learning_rate", detail)
    if config.staging != "together" and job.method.matcher is job.method:
        detail = (
            f"`staging` is '{config.staging}' (protocol '{config.protocol}'), but `{job.method.name}` does not learn "
            "in stages; use 'together', another protocol, or a method that does (`seqmatch`, `pdd`)"
        )
        yield Problem("/evaluation/staging", "no_stages_to_train_in", detail)
    if config.trains == "head" and config.networks not in ((), (config.frozen,)):
        named = ", ".join(f"`{network.name}`" for network in config.networks)
        whose = f"the teacher (`{config.teacher.network.name}`)" if config.backbone is None else "the backbone"
        detail = (
            f"`trains` is 'head', a linear classifier on the features of {whose}, but `networks` names {named}; set "
            f"`evaluation.{'teacher.network' if config.backbone is None else 'backbone'}`, and leave `networks` out"
        )
        yield Problem("/evaluation/networks", "head_of_the_teacher", detail)


def _backbone(job: JobSpec) -> Iterator[Problem]:
    """A backbone where whole networks are trained, where one has to know the classes, or beside another teacher."""
    config = job.evaluation
    if config.backbone is None:
        return
    if config.trains != "head":
        detail = (
            f"`backbone` stays as it is and gets a linear classifier, but `trains` is '{config.trains}' (protocol "
            f"'{config.protocol}'); use `protocol`: 'linear_probe', or drop it"
        )
        yield Problem("/evaluation/backbone", "backbone_without_head", detail)
    if config.labels != "hard" or "label_robust" in config.scores:
        asked = f"`labels` is '{config.labels}'" if config.labels != "hard" else "`scores` has 'label_robust'"
        detail = (
            f"{asked}, which takes a network that tells the classes apart, and `backbone` knows none of them; use "
            "`labels`: 'hard' without that score, or `teacher` in its place"
        )
        yield Problem("/evaluation/backbone", "backbone_knows_no_classes", detail)
    if job.whitening:
        detail = "`backbone` sees pixels as it was trained to, which `whitening` mixes; use false"
        yield Problem("/whitening", "backbone_without_whitening", detail)
    if config.teacher != TeacherConfig():
        yield two_networks("/evaluation")


def _labels(job: JobSpec) -> Iterator[Problem]:
    """Labels of each batch that a teacher cannot give, or that nobody would learn."""
    config = job.evaluation
    own = job.method.own_labels
    if config.labels_batches and own is not None:
        detail = (
            f"`labels` is '{config.labels}', but `{job.method.name}` learns labels of its own, which its images are "
            f"to be learned with (`labels` of the method is '{own}'); use `method.labels`: 'hard', or "
            "`evaluation.labels`: 'hard'"
        )
        yield Problem("/evaluation/labels", "labels_learned", detail)
    if config.labels_batches and config.lr is None:
        detail = (
            f"`lr` is null, the learning rate that the set learned with its classes (protocol '{config.protocol}'), "
            f"but `labels` is '{config.labels}', whose slopes are others; give `evaluation.lr` (0.001 is usual, with "
            "`optimizer`: 'adamw')"
        )
        yield Problem("/evaluation/lr", "learning_rate_of_other_labels", detail)
    for name, usual in (("label_loss", "kl"), ("teacher_mode", "eval")):
        value = getattr(config, name)
        if not config.labels_batches and value != usual:
            detail = (
                f"`{name}` is '{value}', but `labels` is '{config.labels}', so no teacher labels the batches; use "
                f"`labels`: 'online', or drop it"
            )
            yield Problem(f"/evaluation/{name}", "no_online_labels", detail)
    by_batch = config.labels_batches and config.teacher_mode == "train"
    for network in (teacher.network for teacher in config.labelling if by_batch):
        norm = getattr(network, "norm", "none")
        if norm != "batch":
            detail = (
                f"`teacher_mode` is 'train', statistics of each batch, but the teacher `{network.name}` has no batch "
                f"normalisation (`norm` is '{norm}'); use `teacher_mode`: 'eval', or a network with `norm`: 'batch'"
            )
            yield Problem("/evaluation/teacher_mode", "teacher_without_batch_norm", detail)


def _other_teachers(job: JobSpec) -> Iterator[Problem]:
    """Further teachers that a bundle would have to hold, or that say what another says already."""
    config = job.evaluation
    if config.other_teachers and config.labels != "stored":
        detail = (
            f"the logits of `other_teachers` are averaged for labels that are stored, but `labels` is "
            f"'{config.labels}'; use `labels`: 'stored', or drop them"
        )
        yield Problem("/evaluation/other_teachers", "no_stored_labels", detail)
    for index, teacher in enumerate(config.other_teachers):
        if teacher in config.labelling[: index + 1]:
            detail = (
                f"`{teacher.network.name}` with these fields is among the teachers before it, and the same network "
                "says the same; change its architecture or its `epochs`, or drop it"
            )
            yield Problem(f"/evaluation/other_teachers/{index}", "same_teacher_twice", detail)


def _stored_labels(job: JobSpec) -> Iterator[Problem]:
    """Labels of stages, too many of them, and how many where none are stored."""
    config = job.evaluation
    if config.labels != "stored":
        for name in ("stored_epochs", "stored_top"):
            value = getattr(config, name)
            if value is not None:
                detail = (
                    f"`{name}` is {value}, but `labels` is '{config.labels}', so no labels of epochs are stored; use "
                    "`labels`: 'stored', or drop it"
                )
                yield Problem(f"/evaluation/{name}", "no_stored_labels", detail)
        return
    if config.staging != "together":
        detail = (
            f"`labels` is 'stored', of epochs on the whole set, but networks learn it in stages (`staging` is "
            f"'{config.staging}'); use `staging`: 'together', or `labels`: 'online'"
        )
        yield Problem("/evaluation/labels", "stored_labels_of_stages", detail)
    if job.facts is not None:
        data = DataSizes.of(job.facts)
        unstorable = config.unstorable(job.finished_images(data), data.classes)
        if unstorable is not None:
            yield unstorable


def _worth(job: JobSpec) -> Iterator[Problem]:
    """A worth of networks that are not trained, or not on whole sets."""
    config = job.evaluation
    if config.worth is not None and config.staging != "together":
        detail = (
            f"the worth in real images is not defined for networks that learn in stages (`staging` is "
            f"'{config.staging}'); use `staging`: 'together', or drop `evaluation.worth`"
        )
        yield Problem("/evaluation/worth", "worth_of_stages", detail)
    if config.worth is not None and config.repeats == 0:
        detail = "the worth compares trained networks, but `repeats` is 0; choose 1 to 100, or drop it"
        yield Problem("/evaluation/worth", "worth_needs_networks", detail)


def _scores(job: JobSpec) -> Iterator[Problem]:
    """Scores that compare what is not there."""
    config = job.evaluation
    asked = config.augmentation or job.augmentation
    if "augmentation_robust" in config.scores and asked == "none" and config.cutmix == 0:
        detail = (
            "`augmentation_robust` compares training with augmentation and without, but the networks are trained "
            "without; give `evaluation.augmentation`, or drop the score"
        )
        yield Problem("/evaluation/scores", "score_needs_augmentation", detail)
    if config.scores and config.repeats == 0:
        detail = "scores are made of trained networks, but `repeats` is 0; choose 1 to 100, or drop the scores"
        yield Problem("/evaluation/scores", "score_needs_networks", detail)


def _during(job: JobSpec) -> Iterator[Problem]:
    """Accuracies of steps that there are not, and the best of sets that have not all their images."""
    during, method, steps = job.evaluation.during, job.method, job.method.iterations
    if during is None:
        return
    if during.checkpoint == "best" and method.matcher is not method:
        detail = (
            f"`{method.name}` learns in stages, so an earlier step has fewer images than the set; use "
            "`evaluation.during.checkpoint`: 'last'"
        )
        yield Problem("/evaluation/during/checkpoint", "best_of_stages", detail)
    if steps == 0 and during.at != (0,):
        detail = f"`{method.name}` takes no steps, so there is nothing to score on the way; drop it"
        yield Problem("/evaluation/during", "no_steps", detail)
    elif during.at is not None and during.at[-1] > method.iterations:
        detail = (
            f"`at` names step {during.at[-1]}, but the job takes {method.iterations}; choose 0 to {method.iterations}"
        )
        yield Problem("/evaluation/during/at", "beyond_the_end", detail)
