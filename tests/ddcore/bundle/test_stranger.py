"""A bundle is trained on by its manifest and tensors alone, by code that knows nothing of this package."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from sklearn.datasets import load_digits
from torch import Generator, Tensor, nn

from ddcore import bundle, engine
from ddcore.nets import build
from ddcore.nets.convnet import ConvNet
from ddcore.spec import ConvNetConfig, parse
from ddcore.training.stored_labels import record
from ddcore.training.trainer import Recipe


def convnet(description: dict[str, Any], shape: list[int], classes: int) -> nn.Module:
    """The network of a recipe, as its description in the manifest reads."""
    assert (description["name"], description["norm"], description["activation"]) == ("convnet", "instance", "relu")
    assert description["pooling"] == "avg"
    channels, height, width = shape
    layers: list[nn.Module] = []
    for _ in range(description["depth"]):
        convolution = nn.Conv2d(channels, description["width"], 3, padding=1)
        norm = nn.GroupNorm(description["width"], description["width"])
        layers += [convolution, norm, nn.ReLU(), nn.AvgPool2d(2)]
        channels, height, width = description["width"], height // 2, width // 2
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels * height * width, classes))


def trained(manifest: dict[str, Any], tensors: dict[str, Tensor], seed: int) -> nn.Module:
    """SGD at the recipe's rate for E + 1 epochs, a tenth of it, afresh, after the epoch with the index E // 2 + 1."""
    recipe = manifest["recipe"]
    assert (recipe["schedule"], recipe["optimizer"], recipe["labels"]) == ("drop_once", "sgd", "hard")
    assert (recipe["augmentation"], recipe["cutmix"]) == ([], 0.0)
    torch.manual_seed(seed)
    (description,) = recipe["networks"]
    network = convnet(description, manifest["images"]["shape"], len(manifest["classes"]))
    images, labels = normalised(manifest, tensors["images"]), tensors["labels"]

    def optimizer(rate: float) -> torch.optim.Optimizer:
        options = {"momentum": recipe["momentum"], "weight_decay": recipe["weight_decay"]}
        return torch.optim.SGD(network.parameters(), lr=rate, **options)

    sgd = optimizer(recipe["lr"])
    for epoch in range(recipe["epochs"] + 1):
        for rows in torch.randperm(len(images)).split(recipe["batch_size"]):
            sgd.zero_grad()
            F.cross_entropy(network(images[rows]), labels[rows]).backward()
            sgd.step()
        if epoch == recipe["epochs"] // 2 + 1:
            sgd = optimizer(recipe["lr"] / 10)
    return network


def normalised(manifest: dict[str, Any], pixels: Tensor) -> Tensor:
    of_channels = (torch.tensor(manifest["normalization"][name]).view(1, -1, 1, 1) for name in ("mean", "std"))
    mean, std = of_channels
    return (pixels - mean) / std


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of a job that gives no `depth`."""
    made = tmp_path_factory.mktemp("stranger")
    job = {
        "dataset": "digits",
        "ipc": 5,
        "method": "random",
        "network": {"name": "convnet", "width": 32},
        "augmentation": "none",
        "compile": "off",
        "metrics": {"probe": "random"},
        "evaluation": {"repeats": 4, "epochs": 60, "lr": 0.02, "controls": []},
        "seed": 3,
    }
    engine.run(parse(job), made / "out", run_dir=made / "run")
    return made / "out"


def test_a_stranger_reaches_the_reported_accuracy(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["recipe"]["networks"][0]["depth"] == 2
    digits = load_digits()
    pixels = torch.from_numpy(digits.images[1437:] * (255 / 16)).round().div(255).float().unsqueeze(1)
    test, labels = normalised(manifest, pixels), torch.from_numpy(digits.target[1437:])
    tensors, reached = load_file(folder / "distilled.safetensors"), []
    for seed in range(4):
        network = trained(manifest, tensors, seed)
        with torch.no_grad():
            reached.append(100 * float((network(test).argmax(dim=1) == labels).double().mean()))
    reported = manifest["results"]["accuracy"]
    assert sum(reached) / len(reached) == pytest.approx(reported["mean"], abs=3 * max(1.0, reported["std"]) / 2)


def labels_of_epoch(manifest: dict[str, Any], tensors: dict[str, Tensor], epoch: int) -> list[list[float]]:
    """Logits of all classes for each image that an epoch takes, as `recipe.stored_labels` says."""
    stored, found = manifest["recipe"]["stored_labels"], []
    for image in range(manifest["images"]["count"]):
        row = [float(tensors["rest"][epoch, image])] * len(manifest["classes"])
        for place in range(stored["top"]):
            row[int(tensors["classes"][epoch, image, place])] = float(tensors["logits"][epoch, image, place])
        found.append(row)
    return found


def test_a_stranger_reads_the_highest_logits_of_a_teacher(
    tmp_path: Path, distilled: Callable[..., bundle.Distilled]
) -> None:
    """The stored class of each image has the probability of the teacher, at the temperature that the manifest names."""
    content, said = distilled(), 4 * torch.randn(2, 6, 3, generator=Generator().manual_seed(2))
    answers = iter(said.view(4, 3, 3))
    recipe = Recipe(2, batch_size=3, temperature=20.0)
    stored = record(content.images, content.labels, recipe, lambda _: next(answers), classes=3, epochs=2, seed=8, top=1)
    job = {"dataset": "garments", "ipc": 2, "method": "dm"}
    spec = parse({**job, "evaluation": {"labels": "stored", "epochs": 2, "stored_top": 1}})
    bundle.write(tmp_path, distilled(spec=spec, epoch_labels=stored))
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    described = manifest["recipe"]["stored_labels"]
    reading = described.pop("reading")
    assert described == {"file": "labels.safetensors", "epochs": 2, "dtype": "float16", "seed": 8, "top": 1}
    assert "`logits[e, i, j]` is the logit of class `classes[e, i, j]`, of the image that epoch e takes" in reading
    assert "Every other class has the logit `rest[e, i]`: such that softmax(logits / 20) gives the stored" in reading
    tensors = load_file(tmp_path / described["file"])
    assert (tensors["logits"].dtype, tensors["rest"].dtype) == (torch.float16, torch.float16)
    for epoch in range(2):
        p = (said[epoch] / 20).softmax(dim=1)
        q = (torch.tensor(labels_of_epoch(manifest, tensors, epoch)) / 20).softmax(dim=1)
        highest, classes = p.max(dim=1, keepdim=True)
        torch.testing.assert_close(q.gather(1, classes), highest, rtol=1e-3, atol=0)
        others = q.masked_select(q < q.amax(dim=1, keepdim=True)).view(6, 2)
        assert torch.equal(others[:, 0], others[:, 1])


def test_a_manifest_without_a_depth_is_still_read_and_trained_on(folder: Path) -> None:
    """As bundles before version 0.2.0 have it: the depth follows from the images, as it did."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["recipe"]["networks"][0]["depth"] = None
    path.write_text(json.dumps(manifest))
    assert bundle.train_on(folder)["accuracy"] == manifest["results"]["accuracy"]


@pytest.mark.parametrize(
    "shape", [(1, 8, 8), (1, 28, 28), (3, 32, 32), (3, 64, 48), (3, 128, 128), (1, 9, 30)], ids=str
)
def test_the_depth_in_the_manifest_is_that_of_the_network(shape: tuple[int, int, int]) -> None:
    config = ConvNetConfig(width=4)
    network = build(config, shape, 2)
    assert isinstance(network, ConvNet)
    assert config.resolved(shape).depth == len(network.blocks)
    assert ConvNetConfig(depth=1).resolved(shape).depth == 1
