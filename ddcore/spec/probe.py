"""The network that reads every synthetic set of a dataset, and how it is trained: the same for every job."""

from __future__ import annotations

from ddcore.spec.networks import ConvNetConfig
from ddcore.spec.teachers import TeacherConfig
from ddcore.spec.work import DataSizes

MOST_IMAGES_SEEN = 100_000
"""Images that the network is trained on at most, every epoch counted: two epochs of CIFAR-10."""
MOST_EPOCHS = 10

PROBE_NETWORK = ConvNetConfig(width=32)
"""What the probe looks through."""


def probe_images_trained_on(data: DataSizes) -> int:
    """Training images that the network sees: all but those that are read or calibrated with, up to the most.

    >>> probe_images_trained_on(DataSizes((3, 32, 32), (5000,) * 10, 10_000))
    48500
    """
    return min(data.train - data.classes * data.probe_images - sum(data.calibrating), MOST_IMAGES_SEEN)


def probe_training(data: DataSizes) -> TeacherConfig:
    """The training of the network, whose small batches take it furthest for the images that it sees.

    >>> probe_training(DataSizes((3, 32, 32), (5000,) * 10, 10_000)).epochs
    2
    """
    epochs = max(1, min(MOST_EPOCHS, MOST_IMAGES_SEEN // probe_images_trained_on(data)))
    return TeacherConfig(network=PROBE_NETWORK, epochs=epochs, lr=0.01, momentum=0.9, weight_decay=1e-3, batch_size=32)
