"""``README.md`` of a bundle: a Hugging Face dataset card that a person can follow."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ddcore.bundle.content import Distilled
from ddcore.spec import METHODS, NETWORKS
from ddcore.spec.differences import RULE_NAMES, scored_controls, verdicts
from ddcore.spec.results import (
    ArchitectureScores,
    BackboneReport,
    LabelsReport,
    Lineage,
    Origin,
    Results,
    RobustScores,
    Score,
    TeacherReport,
    TrainingProtocol,
)
from ddcore.spec.words import size
from ddcore.spec.worth import in_words


def card(content: Distilled) -> str:
    """The card: a YAML header for loaders, then what the images are, how good, and how to use them."""
    return f"---\n{_header(content)}---\n\n{_body(content)}"


def _header(content: Distilled) -> str:
    """Features and files in the form that ``datasets`` reads."""
    names = "\n".join(f"          '{i}': {_quoted(name)}" for i, name in enumerate(content.dataset.classes))
    soft = "\n  - name: soft_label\n    sequence: float32" if content.soft_labels is not None else ""
    stage = "\n  - name: stage\n    dtype: int64" if content.stages is not None else ""
    return f"""pretty_name: {_quoted(_title(content))}
task_categories:
- image-classification
tags:
- dataset-distillation
configs:
- config_name: default
  data_files:
  - split: train
    path: data/train-*
dataset_info:
  features:
  - name: image
    dtype: image
  - name: label
    dtype:
      class_label:
        names:
{names}{soft}{stage}
"""


def _quoted(text: str) -> str:
    """A string in YAML, which takes one in JSON but for characters beyond 16 bits: it knows no pairs of escapes."""
    plain = json.dumps(text, ensure_ascii=False)
    return "".join(char if char.isprintable() else f"\\U{ord(char):08x}" for char in plain)


def _title(content: Distilled) -> str:
    if content.results.origin is not None:
        return f"{content.dataset.name}: {content.spec.ipc} per class, a set of others"
    method = METHODS[content.spec.method.name]
    return f"{content.dataset.name}: {content.spec.ipc} per class by {method.title.lower()}"


def _body(content: Distilled) -> str:
    dataset = content.dataset
    channels, height, width = dataset.shape
    kept = 100 * len(content.images) / dataset.train_images
    return f"""# {_title(content)}

![one row of images for each class](preview.png)

{len(content.images)} images ({channels} x {height} x {width}) in {len(dataset.classes)} classes, {_made(content)}
images of {dataset.name}: {kept:.2g} % of their number.{_lineage(content.results.lineage)}

## Accuracy

{_accuracy(content.results)}

## Use

In the folder of this file. The images as they were made, in pixel units (0 to 1 nominally; values outside
are meant to be there):

```python
from safetensors.torch import load_file

data = load_file("distilled.safetensors")
images, labels = data["images"], data["labels"]
```

{_normalisation(content)} The rest of the recipe stands under `recipe` in `manifest.json`, and

```python
import ddcore

ddcore.train_on(".")
```

follows it and reproduces the accuracy above. Rounded to 8 bits, for looking at and for other tools:

```python
from datasets import load_dataset

dataset = load_dataset(".", split="train")
```

{_again(content.results.origin)}"""


_AGAIN = """## Make it again

`manifest.json` holds the full specification (`spec`), the seed, the versions and the SHA-256 of every file.

```sh
python -c "import json; print(json.dumps(json.load(open('manifest.json'))['spec']))" > spec.json
ddctl run spec.json --out again
```
"""


def _again(origin: Origin | None) -> str:
    """How the set is made once more, or what the specification of one that was not made here is."""
    if origin is None:
        return _AGAIN
    return """## What the specification is

Nothing was distilled here: `spec` in `manifest.json` is a job that keeps as many random real images and scores them
as this set was scored. `results.origin` says how the file was understood.
"""


def _made(content: Distilled) -> str:
    """By what the images were made, as far as the number of real ones."""
    spec, origin, real = content.spec, content.results.origin, f"the {content.dataset.train_images:,} training"
    if origin is not None:
        digest = "" if origin.sha256 is None else f", SHA-256 `{origin.sha256}`"
        return f"made by\nothers (read from `{origin.file}`{digest}) to stand for {real}"
    method = METHODS[spec.method.name]
    regularizers = "".join(f" with {r.name.upper()}" for r in spec.regularizers)
    return f"made by\n{method.title.lower()}{regularizers} ({method.citation}) from {real}"


def _lineage(lineage: Lineage | None) -> str:
    """Which classes come from another set, and how good that one was."""
    if lineage is None:
        return ""
    classes = len(lineage.kept) + len(lineage.made)
    of_job = f" of the job {lineage.job}" if lineage.job else ""
    made = ", ".join(lineage.made)
    before = lineage.accuracy
    scored = "" if before is None else f" On its own classes, that set reached {before.mean:.2f} ± {before.std:.2f} %."
    return (
        f"\n\nIt extends the set{of_job} whose manifest has the SHA-256 `{lineage.bundle}`: the images of "
        f"{len(lineage.kept)} of its {classes} classes are those of that set, and {len(lineage.made)} were distilled: "
        f"{made}.{scored}"
    )


def _accuracy(results: Results) -> str:
    if results.accuracy is None:
        return "Not scored."
    rows = [("distilled (this set)", results.accuracy)]
    rows += [(_control(name, found), found) for name, found in scored_controls(results).items()]
    table = "\n".join(f"| {name} | {row.mean:.2f} | {row.std:.2f} | {row.networks} |" for name, row in rows)
    protocol = results.protocol or TrainingProtocol()
    labels = _LABELS.get(protocol.labels or "", "")
    turns = f" for each of its {len(protocol.stages.lr)} stages in turn" if protocol.stages else ""
    beside = (_best(results.accuracy.best), _architectures(results.architectures), _scores(results.scores))
    more = "".join((_teacher(results.teacher, protocol.trains), _backbone(results.backbone), *beside))
    learner = f"fresh {_network(results.network)}"
    if protocol.trains == "head":
        learner = f"fresh linear classifier on the features of a frozen {_network(results.network)}"
    return f"""Percent of the whole test set, after training a {learner} on the set
alone{labels} for {results.epochs} epochs{turns} (protocol `{protocol.name or "standard"}`). All rows
follow the identical recipe; the images of {results.moment} are scored.

| trained on | mean | standard deviation | networks |
|---|---|---|---|
{table}{_verdicts(results)}{more}"""


_LABELS: Mapping[str, str] = {
    "soft": " with the soft labels of the bundle",
    "online": " with the labels that a teacher gives every augmented batch",
    "stored": " with the labels of every augmented batch that the bundle holds",
}
"""Which labels networks learn, where these are not the classes, as the rest of "trained on the set alone"."""


def _teacher(teacher: TeacherReport | None, trains: str | None) -> str:
    """Who labels every batch or has the features, and how good that network is itself."""
    if teacher is None:
        return ""
    if teacher.others:
        listed = "\n".join(f"- a {_trained(each)}" for each in (teacher, *teacher.others))
        return f"""

The labels are the mean of the logits of {len(teacher.others) + 1} teachers, for all rows:

{listed}"""
    role = "classify its features" if trains == "head" else "learn from it"
    return f"""

The teacher is a {_trained(teacher)}.
Without it the images do not give these figures: all rows {role}."""


def _trained(teacher: TeacherReport) -> str:
    accurate = "" if teacher.accuracy is None else f" and reaches {teacher.accuracy:.2f} % itself"
    return f"{_network(teacher.network)} that was trained on all real images for {teacher.epochs} epochs{accurate}"


def _backbone(backbone: BackboneReport | None) -> str:
    """Whose features were classified, and that they are not here."""
    if backbone is None:
        return ""
    which = f"`{backbone.timm}` of timm" if backbone.timm else _network(backbone.network or {})
    return f"""

The backbone is a {which} that others trained, `{backbone.weights}.safetensors` with the SHA-256
`{backbone.sha256}`. This bundle does not hold it, and without it the images do not give these
figures: all rows classify its features."""


def _control(name: str, found: Score) -> str:
    if name == "full":
        return f"all {found.images:,} real images, {found.epochs} epochs"
    if name == "best_coreset":
        return f"best coreset ({RULE_NAMES.get(found.rule or '', 'real images')}), as many"
    return "real images chosen by herding, as many" if name == "herding" else f"{name} real images, as many"


def _verdicts(results: Results) -> str:
    """Whether the set beats real images of the same number, its size, and how many it is worth, in words."""
    eight_bit = results.eight_bit
    rounded = "" if eight_bit is None else f"\nRounded to 8 bits it reaches {eight_bit.mean:.2f} ± {eight_bit.std:.2f}."
    teacher = None if results.teacher is None else results.teacher.bytes
    beside = "" if teacher is None else f", and its teacher {size(teacher)} (`teacher.safetensors`)"
    labels = results.labels or LabelsReport()
    if labels.bytes is not None:
        kept = "" if labels.top is None else f", the {labels.top} highest logits of each image"
        beside += f", and its labels {size(labels.bytes)} (`labels.safetensors`{kept})"
    size_of = [] if results.bytes is None else [f"takes {size(results.bytes)} (`distilled.safetensors`){beside}"]
    found = [*verdicts(results), *size_of, *([] if results.worth is None else [in_words(results.worth)])]
    said = "".join(f"\nThe set {text}." for text in found)
    return f"\n{said}{rounded}" if said or rounded else ""


def _best(best: Score | None) -> str:
    if best is None:
        return ""
    return f"""

Choosing among several tests of each network by the test images themselves, as some publish, gives the distilled set
{best.mean:.2f} with a standard deviation of {best.std:.2f}."""


def _architectures(entries: Sequence[ArchitectureScores]) -> str:
    """A column for every set and a row for every architecture, where there are several."""
    if not entries:
        return ""
    names = list(scored_controls(entries[0]))
    rows = "\n".join(
        f"| {_network(entry.network)} | "
        + " | ".join(
            f"{found.mean:.2f} ± {found.std:.2f}"
            for found in (entry.accuracy, *(entry.controls[name] for name in names))
            if found
        )
        + " |"
        for entry in entries
    )
    return f"""

| network | distilled | {"".join(f"{name} | " for name in names).rstrip()}
|---|---|{"---|" * len(names)}
{rows}"""


def _scores(scores: Mapping[str, RobustScores]) -> str:
    """The scores of DD-Ranking with what they are made of; the trainings behind them are in the manifest."""
    if not scores:
        return ""
    rows = "\n".join(
        f"| {name.replace('_', ' ')} | {found.score:.2f} | "
        + ", ".join(f"{key.replace('_', ' ')} {value:.2f}" for key, value in found.parts.items())
        + " |"
        for name, found in scores.items()
    )
    return f"""

Scores of DD-Ranking (arXiv 2505.13300), 0 to 100, of accuracies under other labels and augmentation, which
`manifest.json` lists under `results.scores`:

| score | value | of (points) |
|---|---|---|
{rows}"""


def _network(config: Mapping[str, Any]) -> str:
    """An architecture by its name and what distinguishes it from the usual one of the name."""
    name = str(config.get("name", "network"))
    fields = NETWORKS[name].model_fields if name in NETWORKS else {}
    usual = {key: field.default for key, field in fields.items() if key not in ("name", "depth")}
    unusual = [_trait(key, config[key]) for key in usual if config.get(key) not in (None, usual[key])]
    return f"{name} ({', '.join(unusual)})" if unusual else name


def _trait(key: str, value: Any) -> str:
    says_what_it_is = key in ("norm", "activation") and value != "none"
    return str(value) if says_what_it_is else f"{key} {value}"


def _normalisation(content: Distilled) -> str:
    if content.whitening is not None:
        return """Networks are to be trained on whitened images,
`((images.flatten(1) - data["whitening_mean"]) @ data["whitening_matrix"]).view(images.shape)`, and tested on
likewise whitened ones."""
    dataset = content.dataset
    return f"""Networks are to be trained on `(images - mean) / std`, per channel, with mean {_numbers(dataset.mean)}
and std {_numbers(dataset.std)}."""


def _numbers(values: tuple[float, ...]) -> str:
    return "(" + ", ".join(f"{value:.6g}" for value in values) + ")"
