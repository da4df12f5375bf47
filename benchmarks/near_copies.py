"""What the audit takes for near copies: ``python -m benchmarks.near_copies [DATASET …]``.

Of real images, of the means of classes (blurred, and copies of nothing) and of real images with noise (copies): the
share that the audit calls near copies, the share that the distance alone would, and the range of distances to the
nearest training image, absolute and over the mean distance to the nearest ones.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import torch
from torch import Tensor

from ddcore.data import sources
from ddcore.evaluation.audit import CLOSEST_SHARE, ROUNDING, near_copies
from ddcore.formulas.neighbours import nearest, rows_around
from ddcore.spec.audit import REAL_IMAGES

_PIECE = 1024
_COPIES = 50
_NOISE = (0.05, 0.15, 0.3)


def examine(name: str) -> None:
    """Print the figures of one dataset."""
    train = sources.load(name, Path(os.environ.get("DD_DATA_ROOT", ".")), None).train
    rows, generator = train.images.flatten(1).float() / 255, torch.Generator().manual_seed(0)
    chosen = torch.randperm(len(rows), generator=generator)[:REAL_IMAGES]
    sets = {"real": rows[chosen]}
    sets["class means"] = torch.stack([rows[train.labels == label].mean(dim=0) for label in range(len(train.classes))])
    for noise in _NOISE:
        copied = rows[chosen[:_COPIES]]
        sets[f"noise {noise}"] = (copied + noise * torch.randn(copied.shape, generator=generator)).clamp(0, 1)
    queries = torch.cat(list(sets.values()))
    own = torch.cat([chosen, torch.full((len(queries) - len(chosen),), -1)])
    found = nearest(queries, rows.split(_PIECE), own, rows_around(min(train.class_counts)))
    below = max(ROUNDING, float(found.distances[: len(chosen)].quantile(CLOSEST_SHARE)))
    print(f"{name}: near copies at most {below:.3f} from a real image")
    parts = [len(images) for images in sets.values()]
    columns = (near_copies(found, below), found.distances <= below, found.distances, found.distances / found.around)
    for label, *of_set in zip(sets, *(column.split(parts) for column in columns), strict=True):
        copies, close, distances, relative = of_set
        print(
            f"  {label:12} near copies {_share(copies)}  by distance alone {_share(close)}  "
            f"distance {_range(distances)}  relative {_range(relative)}"
        )


def _share(those: Tensor) -> str:
    return f"{100 * float(those.float().mean()):5.1f} %"


def _range(values: Tensor) -> str:
    least, median, most = (float(torch.quantile(values, share)) for share in (0.0, 0.5, 1.0))
    return f"{least:.3f} … {median:.3f} … {most:.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.near_copies", description=__doc__)
    parser.add_argument("datasets", nargs="*", default=["digits", "mnist", "cifar10"], metavar="DATASET")
    for name in parser.parse_args().datasets:
        examine(name)


if __name__ == "__main__":
    main()
