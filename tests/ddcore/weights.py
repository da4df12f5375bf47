"""Files of weights for a folder of backbones: of a network that is trained for a moment, and of one of timm."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

from ddcore.data.dataset import Dataset
from ddcore.nets import Network, build
from ddcore.spec import ConvNetConfig

TIMM = "test_resnet.r160_in1k"
"""The smallest of timm with batch normalisation: 96 features of images of 160 x 160 pixels."""
OURS: dict[str, Any] = {"name": "convnet", "depth": 2, "width": 4, "norm": "batch"}


def train_ours(
    dataset: Dataset, folder: Path, *, classes: int = 3, steps: int = 5, size: int | None = None, **fields: Any
) -> Network:
    """Train a small network of ours for some steps, keep it as `ours`, and return it in evaluation mode.

    Args:
        dataset: that it is trained on.
        folder: of the file.
        classes: that it tells apart.
        steps: on all images at once.
        size: side to which images are resized; their own by default.
        **fields: of the network, where they are not those of :data:`OURS`.
    """
    torch.manual_seed(7)
    images, labels = dataset.normalize(dataset.train.images), dataset.train.labels
    images = images if size is None else F.interpolate(images, (size, size), mode="bilinear", antialias=True)
    shape = (images.shape[1], images.shape[2], images.shape[3])
    network = build(ConvNetConfig.model_validate({**OURS, **fields}), shape, classes)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05)
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(network(images), labels).backward()
        optimizer.step()
    save(network, folder, "ours")
    return network.eval()


def of_timm(name: str, **options: Any) -> Any:
    """A network of timm with random weights."""
    import timm  # takes seconds, in every process that collects these tests

    return timm.create_model(name, pretrained=False, **options)


def make_timm(folder: Path, name: str = "tiny", model: str = TIMM) -> Any:
    """Keep a network of timm with random weights and a classifier of 1000 classes; return it without the classifier."""
    torch.manual_seed(8)
    whole = of_timm(model)
    for module in whole.modules():
        if isinstance(module, nn.BatchNorm2d):  # as after a training: no two of them alike
            nn.init.uniform_(module.get_buffer("running_mean"), -0.1, 0.1)
            nn.init.uniform_(module.get_buffer("running_var"), 0.5, 1.5)
    save(whole, folder, name)
    bare = of_timm(model, num_classes=0)
    bare.load_state_dict({k: v for k, v in whole.state_dict().items() if k in bare.state_dict()})
    return bare.eval()


def save(network: nn.Module, folder: Path, name: str) -> Path:
    """Keep the tensors of a network under a name."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.safetensors"
    save_file({key: value.contiguous() for key, value in network.state_dict().items()}, path)
    return path
