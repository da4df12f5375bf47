"""Which recipe a set is scored by: two accuracies compare where it is the same, and nowhere else."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from ddcore.spec import AUGMENTERS, NETWORKS, DatasetFacts, EvaluationConfig
from ddcore.spec.augmentation import AUTO

DECIDING = (
    "trains", "epochs", "schedule", "optimizer", "lr", "momentum", "weight_decay", "batch_size", "augmenter", "cutmix",
    "staging", "labels", "stored_epochs", "stored_top", "temperature", "label_loss", "teacher_mode",
)  # fmt: skip
"""Fields of an evaluation that decide how a network is trained.

The others say how many are, on what else, and what is reported beside it. ``protocol`` only stands for values of these.
"""
_KEY_LENGTH = 12


@dataclass(frozen=True)
class Recipe:
    """How the networks of a score were trained.

    Attributes:
        key: the same for the same recipe, and for no other; hexadecimal.
        protocol: whose way of scoring it was called.
        words: it, for people.
    """

    key: str
    protocol: str
    words: str


def recipe_of(spec: Mapping[str, Any], facts: DatasetFacts | None) -> Recipe:
    """The recipe by which a job scores its images with its first architecture.

    Args:
        spec: a specification in the full spelling, of any version: it need not parse any more.
        facts: of its dataset; without them ``auto`` augmentation and the size of a network are taken as written.

    >>> from ddcore.spec import parse
    >>> job = {"dataset": "cifar10", "ipc": 1, "method": "random", "evaluation": {"protocol": "dm"}}
    >>> other = {**job, "ipc": 10, "evaluation": {"epochs": 1000, "repeats": 7}}
    >>> recipes = [recipe_of(parse(body).model_dump(mode="json"), None) for body in (job, other)]
    >>> recipes[0].key == recipes[1].key, recipes[0].protocol
    (True, 'dm')
    """
    evaluation: Mapping[str, Any] = spec.get("evaluation", {})
    values = {name: _value(evaluation, name) for name in DECIDING}
    network = _network(spec, evaluation, facts)
    augmentation = _augmentation(spec, evaluation, facts)
    on_teacher = values["trains"] == "head" and evaluation.get("backbone") is None
    teacher = evaluation.get("teacher") if values["labels"] != "hard" or on_teacher else None
    whitened = bool(spec.get("whitening", False))
    deciding = {
        **values, "network": network, "augmentation": augmentation, "teacher": teacher, "whitening": whitened,
    }  # fmt: skip
    text = json.dumps(deciding, sort_keys=True)
    words = ", ".join(_words(values, network, augmentation, whitened=whitened))
    key = hashlib.sha256(text.encode()).hexdigest()[:_KEY_LENGTH]
    return Recipe(key, str(_value(evaluation, "protocol")), words)


def _value(evaluation: Mapping[str, Any], name: str) -> Any:
    """A field; one that came later has its default."""
    return evaluation.get(name, EvaluationConfig.model_fields[name].default)


def _network(spec: Mapping[str, Any], evaluation: Mapping[str, Any], facts: DatasetFacts | None) -> dict[str, Any]:
    """The first architecture, with what it leaves to the size of the images."""
    networks = evaluation.get("networks") or [spec.get("network", {"name": "convnet"})]
    head, backbone = _value(evaluation, "trains") == "head", evaluation.get("backbone")
    if head and backbone is not None:
        # Of a file whose content is known it does not matter what it is called.
        idle = ("parameters", "weights" if backbone.get("sha256") else "")
        return {name: value for name, value in backbone.items() if name not in idle}
    found: dict[str, Any] = dict(evaluation.get("teacher", {}).get("network", {}) if head else networks[0])
    known = NETWORKS.get(str(found.get("name")))
    if known is None or facts is None:
        return found
    try:
        return known.model_validate(found).resolved(facts.shape).model_dump(mode="json")
    except ValidationError:  # of another version: it is told from others as it is written
        return found


def _augmentation(spec: Mapping[str, Any], evaluation: Mapping[str, Any], facts: DatasetFacts | None) -> list[str]:
    """The operations, sorted: which of them a batch gets is drawn."""
    own = evaluation.get("augmentation")
    asked = str(own or spec.get("augmentation", "auto"))
    augmenter = str(_value(evaluation, "augmenter"))
    if asked == "none":
        return []
    if asked != "auto" or augmenter not in AUTO or facts is None:
        operations = set(asked.split("_"))
    else:
        operations = {name for name in AUGMENTERS[augmenter] if facts.flip or name != "flip"}
    # As `ddcore.augment.training.strategy_of` has it.
    if _value(evaluation, "cutmix") and own in (None, "auto") and augmenter in ("siamese", "stacked"):
        operations.discard("cutout")
    return sorted(operations)


def _words(
    values: Mapping[str, Any], network: Mapping[str, Any], augmentation: list[str], *, whitened: bool
) -> Iterator[str]:
    name = str(network.get("name", "network"))
    if "timm" in network:
        name = f"{name} {network['timm'] or network['network']['name']}"
    sizes = [f"{key} {network[key]}" for key in ("depth", "width", "norm") if network.get(key) is not None]
    yield f"{name} ({', '.join(sizes)})" if sizes else name
    if values["trains"] == "head":
        yield "linear classifier on frozen features"
    rate = "a learning rate of the set's own" if values["lr"] is None else f"learning rate {values['lr']:g}"
    yield f"{values['epochs']:,} epochs of {values['optimizer']} at {rate}"
    yield f"augmented by {' '.join(augmentation)} ({values['augmenter']})" if augmentation else "not augmented"
    if values["cutmix"]:
        yield "CutMix"
    top = values["stored_top"]
    yield f"{values['labels']} labels" + ("" if top is None else f" of the {top} highest logits")
    if values["staging"] != "together":
        yield "in stages"
    if whitened:
        yield "whitened pixels"
