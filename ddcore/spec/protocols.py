"""How the literature scores distilled sets: what each source sets otherwise than the default of a job.

Sources: the paper that each protocol names, and its authors' released code. A protocol is nothing but values for
fields of :class:`ddcore.spec.EvaluationConfig`; a field that a job gives itself prevails.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Schedule = Literal["drop_once", "drop_once_kept", "drop_twice", "halve_four_times", "half_cosine", "cosine", "constant"]
"""How the learning rate falls over a training; see :class:`ddcore.spec.EvaluationConfig`."""


@dataclass(frozen=True)
class Protocol:
    """A named way of scoring.

    Attributes:
        title: what it is, for people.
        citation: whose it is.
        fields: values for fields of the evaluation; those not named keep their defaults.
    """

    title: str
    citation: str
    fields: Mapping[str, Any] = field(default_factory=dict)


_DC = "Zhao, Mopuri & Bilen, Dataset Condensation, ICLR 2021 (arXiv 2006.05929)"
_DC_BENCH = "Cui et al., DC-BENCH, NeurIPS 2022 (arXiv 2207.09639)"
_CAFE = "Wang et al., CAFE, CVPR 2022 (arXiv 2203.01531)"

PROTOCOLS: Mapping[str, Protocol] = {
    "standard": Protocol("300 epochs, 3 networks, augmented as the job matches", "ours, after DC"),
    "dc": Protocol("300 epochs without augmentation", _DC, {"repeats": 20, "augmentation": "none"}),
    "dc_mnist": Protocol(
        "as DC scores MNIST: 1000 epochs, each image augmented for itself",
        _DC,
        {"repeats": 20, "epochs": 1000, "augmenter": "per_image", "augmentation": "crop_scale_rotate"},
    ),
    "dc_bn": Protocol(
        "as DC scores networks with batch normalisation: 1000 epochs, each image augmented for itself",
        _DC,
        {"repeats": 20, "epochs": 1000, "augmenter": "per_image", "augmentation": "crop_noise"},
    ),
    "dsa": Protocol(
        "1000 epochs under Siamese augmentation",
        "Zhao & Bilen, DSA, ICML 2021 (arXiv 2102.08259)",
        {"repeats": 20, "epochs": 1000, "augmentation": "auto"},
    ),
    "dm": Protocol(
        "as DSA, with 5 networks",
        "Zhao & Bilen, DM, WACV 2023 (arXiv 2110.04181)",
        {"repeats": 5, "epochs": 1000, "augmentation": "auto"},
    ),
    "cafe": Protocol("600 epochs without augmentation", _CAFE, {"repeats": 20, "epochs": 600, "augmentation": "none"}),
    "cafe_dsa": Protocol(
        "1000 epochs under Siamese augmentation", _CAFE, {"repeats": 20, "epochs": 1000, "augmentation": "auto"}
    ),
    "idm": Protocol(
        "as DM, on all images that the decoder makes; BACON and IID score alike",
        "Zhao et al., IDM, CVPR 2023 (arXiv 2307.09742)",
        {"repeats": 5, "epochs": 1000, "augmentation": "auto"},
    ),
    "dc_bench": Protocol("300 epochs without augmentation", _DC_BENCH, {"repeats": 5, "augmentation": "none"}),
    "dc_bench_dsa": Protocol(
        "1000 epochs under Siamese augmentation", _DC_BENCH, {"repeats": 5, "epochs": 1000, "augmentation": "auto"}
    ),
    "dc_bench_autoaugment": Protocol(
        "1000 epochs under AutoAugment of the 8-bit batch",
        _DC_BENCH,
        {"repeats": 5, "epochs": 1000, "augmenter": "eight_bit", "augmentation": "autoaugment"},
    ),
    "dc_bench_randaugment": Protocol(
        "1000 epochs under RandAugment of the 8-bit batch",
        _DC_BENCH,
        {"repeats": 5, "epochs": 1000, "augmenter": "eight_bit", "augmentation": "randaugment"},
    ),
    "dc_bench_crop_flip": Protocol(
        "1000 epochs under crops, flips and cutout of the 8-bit batch",
        _DC_BENCH,
        {"repeats": 5, "epochs": 1000, "augmenter": "eight_bit", "augmentation": "crop_flip_cutout"},
    ),
    "dc_bench_crop_flip_jitter": Protocol(
        "1000 epochs under crops, flips and colour jitter of the 8-bit batch",
        _DC_BENCH,
        {"repeats": 5, "epochs": 1000, "augmenter": "eight_bit", "augmentation": "crop_flip_jitter"},
    ),
    "idc": Protocol(
        "1000 epochs under stacked augmentation and CutMix, batches of 64",
        "Kim et al., IDC, ICML 2022 (arXiv 2205.14959)",
        {
            "repeats": 3,
            "epochs": 1000,
            "schedule": "drop_twice",
            "batch_size": 64,
            "augmenter": "stacked",
            "augmentation": "auto",
            "cutmix": 0.5,
            "tests": 4,
        },
    ),
    "ncfm": Protocol(
        "2000 epochs by AdamW under stacked augmentation and CutMix, batches of 128",
        "Wang et al., NCFM, CVPR 2025 (arXiv 2502.20653)",
        {
            "repeats": 10,
            "epochs": 2000,
            "schedule": "halve_four_times",
            "optimizer": "adamw",
            "lr": 0.001,
            "batch_size": 128,
            "augmenter": "stacked",
            "augmentation": "auto",
            "cutmix": 0.5,
            "tests": 20,
        },
    ),
    "rded": Protocol(
        "300 epochs with CutMix in every batch and a teacher's labels of each batch, divergence at temperature 20",
        "Sun et al., RDED, CVPR 2024 (arXiv 2312.03526)",
        {
            "repeats": 3,
            "labels": "online",
            "optimizer": "adamw",
            "lr": 0.001,
            "weight_decay": 0.01,
            "schedule": "half_cosine",
            "batch_size": 50,
            "augmentation": "auto",
            "cutmix": 1.0,
        },
    ),
    "fadrm": Protocol(
        "300 epochs with CutMix in every batch of 16, and labels of each by a teacher that normalises by it",
        "Cui et al., FADRM, NeurIPS 2025 (arXiv 2506.24125)",
        {
            "repeats": 3,
            "labels": "online",
            "teacher_mode": "train",
            "teacher": {"network": {"name": "resnet18", "norm": "batch"}},
            "optimizer": "adamw",
            "lr": 0.001,
            "weight_decay": 0.01,
            "schedule": "half_cosine",
            "batch_size": 16,
            "augmentation": "crop_flip_scale",
            "cutmix": 1.0,
        },
    ),
    "cim": Protocol(
        "1000 epochs under Siamese augmentation on a teacher's logits of each batch",
        "Shang et al., CIM, ECCV 2026",
        {
            "repeats": 3,
            "epochs": 1000,
            "labels": "online",
            "label_loss": "mse_logits",
            "optimizer": "adamw",
            "lr": 0.001,
            "weight_decay": 1e-4,
            "schedule": "drop_twice",
            "batch_size": 50,
            "augmentation": "auto",
            "tests": 4,
        },
    ),
    "linear_probe": Protocol(
        "1000 epochs of a linear classifier alone, on the features of a frozen network, each image cropped for itself",
        "Cazenavette, Torralba & Sitzmann, Linear Gradient Matching, NeurIPS 2025 (arXiv 2511.16674)",
        {
            "repeats": 5,
            "epochs": 1000,
            "trains": "head",
            "schedule": "cosine",
            "optimizer": "adam",
            "lr": 0.001 * 100 / 256,
            "weight_decay": 0.0,
            "batch_size": 100,
            "augmenter": "resized_crop",
            "augmentation": "auto",
        },
    ),
    "mtt": Protocol(
        "1000 epochs under Siamese augmentation at the learning rate that the set learned",
        "Cazenavette et al., MTT, CVPR 2022 (arXiv 2203.11932)",
        {"repeats": 5, "epochs": 1000, "lr": None, "augmentation": "auto"},
    ),
    "seqmatch": Protocol(
        "as MTT, stage after stage: on the first, on the first two and so on, each for 1000 epochs at its own rate",
        "Du, Shi & Zhou, SeqMatch, NeurIPS 2023 (arXiv 2311.01570)",
        {"repeats": 5, "epochs": 1000, "lr": None, "augmentation": "auto", "staging": "at_rest"},
    ),
    "pdd": Protocol(
        "likewise, each for 500 epochs and with the momentum of the last, which is kept where the rate drops",
        "Chen et al., PDD, ICLR 2024 (arXiv 2310.06982)",
        {
            "repeats": 5,
            "epochs": 500,
            "schedule": "drop_once_kept",
            "lr": None,
            "augmentation": "auto",
            "staging": "with_momentum",
        },
    ),
    "bptt": Protocol(
        "300 epochs at a constant rate, without augmentation, batches of 640",
        "Deng & Russakovsky, Remember the Past, NeurIPS 2022 (arXiv 2206.02916)",
        {
            "repeats": 10,
            "schedule": "constant",
            "weight_decay": 0.0,
            "batch_size": 640,
            "augmentation": "none",
        },
    ),
}

_ADAM: Mapping[str, Any] = {"lr": 0.003, "weight_decay": 0.0, "schedule": "constant"}
"""What DC-bench's alternative optimiser comes with."""
_ADAMW: Mapping[str, Any] = {"lr": 0.001, "weight_decay": 0.01, "schedule": "constant"}
"""What AdamW comes with, as its authors have it."""
_IN_BATCHES: Mapping[str, Any] = {"temperature": 20.0}
"""What labels of every batch come with, as in RDED."""


def as_prescribed(given: Mapping[str, Any]) -> Mapping[str, Any]:
    """Fields of an evaluation, those that are not given as its protocol has them.

    Args:
        given: fields as a job names them; of an unknown ``protocol`` they are returned as they are.

    >>> as_prescribed({"protocol": "dc", "epochs": 7})
    {'repeats': 20, 'augmentation': 'none', 'protocol': 'dc', 'epochs': 7}
    """
    name = given.get("protocol", "standard")
    if not isinstance(name, str) or name not in PROTOCOLS:
        return given
    protocol: dict[str, Any] = dict(PROTOCOLS[name].fields)
    if {**protocol, **given}.get("labels") in ("online", "stored"):
        usual = {} if "optimizer" in given else {"optimizer": "adamw", **_ADAMW}
        protocol = {**_IN_BATCHES, **usual, **protocol}
    optimizer = {"adam": _ADAM, "adamw": _ADAMW}.get(str(given.get("optimizer")), {})
    return {**protocol, **optimizer, **given}
