"""Distil a dataset over REST and train a small classifier on the result.

Needs a running service (`ddctl up`) and torch. Takes about half a minute on a CPU:

    python examples/submit_and_train.py
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader

from ddclient import Client


def main() -> None:
    """Submit, wait, download, train."""
    with Client() as client, tempfile.TemporaryDirectory() as folder:
        job = client.distill(
            "digits",
            method={"name": "dm", "iterations": 50, "batch_real": 32},
            ipc=2,
            regularizers={"mim": {"relative": 1.0}},
            network={"name": "convnet", "width": 32},
            evaluation={"repeats": 2, "epochs": 50},
        )
        results: Mapping[str, Any] = job.wait(progress=True).results or {}
        bundle = job.download(folder)
        print(f"distilled {results['accuracy']['mean']:.1f} %, random {results['controls']['random']['mean']:.1f} %")

        network = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
        optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
        for _ in range(30):
            for images, labels in DataLoader(bundle.as_torch(), batch_size=20, shuffle=True):
                optimizer.zero_grad()
                loss = nn.functional.cross_entropy(network(images), labels)
                loss.backward()
                optimizer.step()
        print(f"a network of our own reached a training loss of {loss.item():.3f} on {len(bundle.as_torch())} images")


if __name__ == "__main__":
    main()
