"""``README.md`` of a bundle: a Hugging Face dataset card that a person can follow."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ddcore.bundle.content import Distilled
from ddcore.spec import METHODS


def card(content: Distilled) -> str:
    """The card: a YAML header for loaders, then what the images are, how good, and how to use them."""
    return f"---\n{_header(content)}---\n\n{_body(content)}"


def _header(content: Distilled) -> str:
    """Features and files in the form that ``datasets`` reads; JSON strings are valid YAML."""
    names = "\n".join(f"          '{i}': {json.dumps(name)}" for i, name in enumerate(content.dataset.classes))
    soft = "\n  - name: soft_label\n    sequence: float32" if content.soft_labels is not None else ""
    return f"""pretty_name: {json.dumps(_title(content))}
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
{names}{soft}
"""


def _title(content: Distilled) -> str:
    method = METHODS[content.spec.method.name]
    return f"{content.dataset.name}: {content.spec.ipc} per class by {method.title.lower()}"


def _body(content: Distilled) -> str:
    dataset, spec = content.dataset, content.spec
    channels, height, width = dataset.shape
    kept = 100 * len(content.images) / dataset.train_images
    method = METHODS[spec.method.name]
    regularizers = "".join(f" with {r.name.upper()}" for r in spec.regularizers)
    return f"""# {_title(content)}

![one row of images for each class](preview.png)

{len(content.images)} images ({channels} x {height} x {width}) in {len(dataset.classes)} classes, made by
{method.title.lower()}{regularizers} ({method.citation}) from the {dataset.train_images:,} training
images of {dataset.name}: {kept:.2g} % of their number.

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

## Make it again

`manifest.json` holds the full specification (`spec`), the seed, the versions and the SHA-256 of every file.

```sh
python -c "import json; print(json.dumps(json.load(open('manifest.json'))['spec']))" > spec.json
ddctl run spec.json --out again
```
"""


def _accuracy(results: Mapping[str, Any]) -> str:
    accuracy = results.get("accuracy")
    if accuracy is None:
        return "Not scored."
    rows = [("distilled (this set)", accuracy)]
    rows += [
        (f"{name} real images, as many", control) for name, control in results.get("controls", {}).items() if control
    ]
    table = "\n".join(f"| {name} | {row['mean']:.2f} | {row['std']:.2f} | {row['networks']} |" for name, row in rows)
    network = results.get("network", {}).get("name", "network")
    return f"""Percent of the whole test set, after training a fresh {network} on the set alone for
{results.get("epochs")} epochs. All rows follow the identical recipe; the {results.get("checkpoint", "last")} images
of the run are scored.

| trained on | mean | standard deviation | networks |
|---|---|---|---|
{table}"""


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
