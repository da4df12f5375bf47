"""Facts about the datasets that have a name, known without loading them.

Normalisation constants are those of the dataset-distillation literature (``get_dataset`` in utils.py of
github.com/VICO-UoE/DatasetCondensation);
TinyImageNet and unlisted sets have theirs computed from the training images where absent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class DatasetFacts:
    """What is known about a named dataset before it is loaded.

    ``shape`` is (channels, height, width); ``smallest_class`` and ``train_size`` count training
    images, ``test_size`` the others; ``mean`` and ``std`` are per channel in pixel units 0 to 1,
    ``None`` when computed.
    """

    name: str
    title: str
    shape: tuple[int, int, int]
    classes: tuple[str, ...]
    train_size: int
    smallest_class: int
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    flip: bool
    """Whether a mirrored image keeps its class (digits do not)."""
    download: bool
    """Whether the files must be provided or downloaded (``digits`` ships with scikit-learn)."""
    test_size: int


_DIGITS = tuple("0123456789")
_FASHION = (
    "t-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip
_CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_CIFAR100 = tuple(
    "apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can "
    "castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin "
    "elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster "
    "man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck "
    "pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk "
    "skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger "
    "tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm".split()
)

DATASETS: Mapping[str, DatasetFacts] = {
    facts.name: facts
    for facts in (
        DatasetFacts("digits", "Digits 8x8", (1, 8, 8), _DIGITS, 1437, 141, None, None, False, False, 360),
        DatasetFacts("mnist", "MNIST", (1, 28, 28), _DIGITS, 60_000, 5421, (0.1307,), (0.3081,), False, True, 10_000),
        DatasetFacts(
            "fashion_mnist", "Fashion-MNIST", (1, 28, 28), _FASHION, 60_000, 6000,
            (0.2861,), (0.3530,), True, True, 10_000,
        ),
        DatasetFacts(
            "svhn", "SVHN", (3, 32, 32), _DIGITS, 73_257, 4659,
            (0.4377, 0.4438, 0.4728), (0.1980, 0.2010, 0.1970), False, True, 26_032,
        ),
        DatasetFacts(
            "cifar10", "CIFAR-10", (3, 32, 32), _CIFAR10, 50_000, 5000,
            (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010), True, True, 10_000,
        ),
        DatasetFacts(
            "cifar100", "CIFAR-100", (3, 32, 32), _CIFAR100, 50_000, 500,
            (0.5071, 0.4866, 0.4409), (0.2673, 0.2564, 0.2762), True, True, 10_000,
        ),
    )
}  # fmt: skip
