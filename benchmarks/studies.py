"""The jobs of :mod:`benchmarks.quality`: each study is a list of jobs that differ in one thing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any

Job = dict[str, Any]
Budget = Mapping[tuple[str, int], Mapping[str, int]]
"""Image steps of each method, by dataset and images per class."""

SEEDS = (0, 1, 2)

CIFAR10_IPC10: Job = {
    "dataset": "cifar10",
    "ipc": 10,
    "method": {"name": "dm", "iterations": 300},
    "evaluation": {"repeats": 3, "epochs": 300},
}
UNCONTROLLED: Job = {**CIFAR10_IPC10["evaluation"], "controls": []}
"""Scoring of a job whose control is that of another job of the same seed."""


def _dm(*terms: Job, seed: int = 0, **fields: Any) -> Job:
    return {**CIFAR10_IPC10, "regularizers": list(terms), "seed": seed, **fields}


def _term(name: str, strength: float, seed: int, **fields: Any) -> Job:
    """A job with one regulariser; its control is that of the plain job of the same seed."""
    return _dm({"name": name, "relative": strength, **fields}, seed=seed, evaluation=UNCONTROLLED)


def _precision(precision: str, compiled: str, seed: int) -> Job:
    return _dm(seed=seed, precision=precision, compile=compiled, evaluation=UNCONTROLLED)


NARROW: Job = {"name": "convnet", "width": 64}
NARROWER: Job = {"name": "convnet", "width": 32}
"""Half and a quarter as wide as published, to distil and to score with: a quarter of the work, and a tenth."""

DM: Job = {"name": "dm", "batch_real": 64}
DC: Job = {"name": "dc", "batch_real": 64, "inner_loop": 10}
DSA: Job = {**DC, "name": "dsa"}
CAFE: Job = {"name": "cafe", "batch_real": 64, "query_images": 16}
IDM: Job = {"name": "idm", "batch_real": 64, "batch_train": 64, "network_steps": 5, "queue_size": 20, "grow_every": 5}
BACON: Job = {**IDM, "name": "bacon"}
"""Published settings, but with a quarter of the real images a step, and shorter training of the networks."""

EXPERTS: Job = {"count": 2}
MTT: Job = {"name": "mtt", "student_steps": 20, "expert_epochs": 1, "max_start": 2, "lr_lr": 1e-6, "experts": EXPERTS}
BPTT: Job = {"name": "bptt", "student_steps": 40, "batch_real": 32}
IDC: Job = {"name": "idc", "steps_per_network": 20, "train_images": 512}
DREAM: Job = {**IDC, "name": "dream"}
"""Windows of one epoch at the first two snapshots of two experts; networks trained less often, and on less."""

SCORING: Job = {"repeats": 2, "epochs": 300}

CMI: Job = {"name": "cmi", "relative": 0.2}
MIM: Job = {"name": "mim", "relative": 1.0}
IID: Job = {"name": "iid", "weight": 1.0, "covariance": 0.03, "centralization": 0.01}
"""Published for `idm`."""

METHODS: Mapping[str, tuple[Job, Sequence[Job]]] = {
    "dm": (DM, ()),
    "dc": (DC, ()),
    "dsa": (DSA, ()),
    "cafe": (CAFE, ()),
    "idm": (IDM, ()),
    "idm-start": (IDM, ()),
    "bacon": (BACON, ()),
    "dm+cmi": (DM, (CMI,)),
    "dm+mim": (DM, (MIM,)),
    "idm+cmi": (IDM, (CMI,)),
    "idm+iid": (IDM, (IID,)),
    "mtt": (MTT, ()),
    "tesla": ({**MTT, "name": "tesla"}, ()),
    "mtt+mim": (MTT, (MIM,)),
    "mtt+cmi": (MTT, (CMI,)),
    "bptt": (BPTT, ()),
    "bptt+mim": (BPTT, (MIM,)),
    "idc": (IDC, ()),
    "idc-start": (IDC, ()),
    "idc+cmi": (IDC, (CMI,)),
    "dream": (DREAM, ()),
    "seqmatch-2": ({"name": "seqmatch", "stages": 2, "base": MTT}, ()),
    "seqmatch-3": ({"name": "seqmatch", "stages": 3, "base": MTT}, ()),
    "pdd-2": ({"name": "pdd", "stages": 2, "base": MTT}, ()),
    "pdd-3": ({"name": "pdd", "stages": 3, "base": MTT}, ()),
}

MATCHING: Budget = {
    ("cifar10", 1): {
        "dm": 500,
        "dsa": 120,
        "cafe": 75,
        "idm": 110,
        "idm-start": 1,
        "bacon": 110,
        "dm+mim": 350,
        "idm+cmi": 100,
        "idm+iid": 100,
    },
    ("cifar10", 10): {
        "dm": 400,
        "dsa": 50,
        "cafe": 50,
        "idm": 100,
        "idm-start": 1,
        "bacon": 100,
        "dm+cmi": 330,
        "dm+mim": 270,
        "idm+cmi": 90,
        "idm+iid": 90,
    },
    ("mnist", 1): {"dc": 120, "dm": 400, "idm": 100},
    ("mnist", 10): {"dc": 32, "dm": 300, "idm": 70},
}
"""Image steps of a dataset and a number of images per class: what takes three quarters of a minute of one core.

`dm+cmi` at 1 image a class is missing: its term would be identically zero, and such a job is refused. `idm-start` takes
one step: what it scores are the mosaics of real images that `idm` starts from.
"""

TRAJECTORIES: Budget = {
    ("cifar10", 1): {
        "dm": 350,
        "mtt": 70,
        "tesla": 70,
        "mtt+mim": 60,
        "bptt": 40,
        "bptt+mim": 35,
        "idc": 40,
        "idc-start": 1,
        "idc+cmi": 35,
        "dream": 35,
    },
    ("cifar10", 2): {"mtt": 70, "mtt+cmi": 60},
    ("mnist", 1): {"dm": 280, "mtt": 70, "mtt+mim": 60, "bptt": 40, "bptt+mim": 35},
    ("mnist", 6): {"dm": 200, "mtt": 60, "seqmatch-2": 60, "seqmatch-3": 60, "pdd-2": 60, "pdd-3": 60},
}
"""Likewise, for half a minute.

`cmi` beside `mtt` needs two images a class, since with one its term is identically zero. `idc-start` takes one step.
"""

CONTROLLED = ("dm", "dc")
"""Methods whose jobs score random images too; others are scored by the recipe of the first."""


def _budgeted(dataset: str, ipc: int, seed: int, network: Job, method: Job, scoring: Job) -> Job:
    """A job within a budget, without regularisers."""
    return {
        "dataset": dataset,
        "ipc": ipc,
        "seed": seed,
        "network": network,
        "method": method,
        "metrics": {"probe": "teacher"},
        "evaluation": SCORING | scoring,
    }


def _family(budgets: Budget, network: Job) -> Iterator[tuple[str, Job]]:
    """A job of every method and seed, named by what the report looks for."""
    for (dataset, ipc), budget in budgets.items():
        for (name, iterations), seed in product(budget.items(), SEEDS):
            method, terms = METHODS[name]
            scoring: Job = {} if name in CONTROLLED else {"controls": []}
            job = _budgeted(dataset, ipc, seed, network, {**method, "iterations": iterations}, scoring)
            yield f"{dataset} ipc {ipc} {name} seed {seed}", {**job, "regularizers": list(terms)}


TEACHERS: Mapping[str, Job] = {
    "width 128": {"network": {"name": "convnet", "width": 128}, "epochs": 4},
    "width 64": {"network": NARROW, "epochs": 4},
    "width 32": {"network": NARROWER, "epochs": 4},
    "width 32, 2 epochs": {"network": NARROWER, "epochs": 2},
}
"""From the default down to a 26th of the work."""


def _taught() -> Iterator[tuple[str, Job]]:
    """`dm` alone, and with a term through each of the teachers; images that herding chooses by them; five seeds."""
    for dataset, seed in product(("cifar10", "mnist"), range(5)):
        method = {**DM, "iterations": MATCHING[dataset, 10]["dm"]}
        plain = _budgeted(dataset, 10, seed, NARROWER, method, {"controls": [], "audit": False})
        yield f"{dataset} alone seed {seed}", plain
        for term, (name, teacher) in product((CMI, MIM), TEACHERS.items()):
            terms = [{**term, "teacher": teacher}]
            yield f"{dataset} {term['name']} {name} seed {seed}", {**plain, "regularizers": terms}
        for name, teacher in TEACHERS.items():
            yield f"{dataset} herding {name} seed {seed}", {**plain, "method": {"name": "herding", "teacher": teacher}}


STUDIES: Mapping[str, Mapping[str, Job]] = {
    "dm": {
        "cifar10 ipc 10 seed 0": _dm(),
        "cifar10 ipc 10 seed 1": _dm(seed=1),
        "mnist ipc 1 seed 0": {**CIFAR10_IPC10, "dataset": "mnist", "ipc": 1},
    },
    "mim": {f"relative {r} seed {s}": _term("mim", r, s) for r, s in ((1.0, 0), (1.0, 1), (3.0, 0))},
    "mim-paper": {"relative 1.0 seed 0": _term("mim", 1.0, 0, objective="nce", layers="blocks")},
    "cmi": {f"relative {r} seed {s}": _term("cmi", r, s) for r, s in ((0.2, 0), (0.2, 1), (0.5, 0))},
    "precision": {
        f"{precision} seed {seed}": _precision(precision, compiled, seed)
        for seed in SEEDS
        for precision, compiled in (("fp32", "off"), ("bf16", "on"))
    },
    "teachers": dict(_taught()),
    "matching-family": dict(_family(MATCHING, NARROW)),
    "trajectory-family": dict(_family(TRAJECTORIES, NARROWER)),
}
