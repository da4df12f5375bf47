"""Nearest neighbours of a few rows among many, and how close is unusually close.

Distances are root mean squares of the differences of all values of two rows, so that they have the unit of one value
whatever the number of values. Arithmetic is float64: near copies differ in the last digits.

A distance alone does not tell a copy: an image of little contrast is close to many, and copies none. Carlini et al.,
"Extracting Training Data from Diffusion Models", USENIX Security 2023 (arXiv 2301.13188), section 5.1, therefore
compare it with the mean distance to the 50 nearest.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

AROUND = 50
"""Nearest rows whose mean distance the nearest is compared with, at most (Carlini et al.: n)."""
STANDS_OUT = 0.5
"""Share of that mean that the nearest is at, at most, where it is copied (Carlini et al.: alpha)."""
_PART_OF_CLASS = 10
"""Of these rows, one class gives one in so many at most: what lies beyond it is near to nothing."""
_AT_ONCE = 1024
"""Rows whose distances to a piece are in memory together."""


class Neighbours(NamedTuple):
    """The nearest of many rows to each of a few.

    Attributes:
        distances: (Q,) float64, root mean square difference; infinite where there was no row to compare with.
        rows: (Q,) int64, counted over all pieces; -1 where there was none.
        around: (Q,) float64, mean distance to the nearest rows, of which the nearest is one.
    """

    distances: Tensor
    rows: Tensor
    around: Tensor


def rows_around(smallest_class: int) -> int:
    """Nearest rows that the nearest is compared with, where the smallest class has so many.

    >>> [rows_around(images) for images in (2, 144, 5000)]
    [2, 14, 50]
    """
    return max(2, min(AROUND, smallest_class // _PART_OF_CLASS))


def nearest(queries: Tensor, pieces: Iterable[Tensor], own: Tensor | None = None, around: int = 1) -> Neighbours:
    """The nearest row to each query; of equally near ones the first.

    No more than one piece and a block of queries are in memory as float64.

    Args:
        queries: (Q, F) floating point, Q at least 1.
        pieces: rows (n, F) to search, piece after piece.
        own: (Q,) int64, the row that a query is itself and must not find; -1 for none. By default none.
        around: how many of the nearest rows make :attr:`Neighbours.around`, as far as there are so many.

    Returns:
        On the CPU.

    >>> pieces = [torch.tensor([[1.0, 1.0]]), torch.tensor([[7.0, 7.0]])]
    >>> found = nearest(torch.tensor([[0.0, 0.0], [9.0, 9.0]]), pieces, around=2)
    >>> found.distances.tolist(), found.rows.tolist(), found.around.tolist()
    ([1.0, 2.0], [0, 1], [4.0, 5.0])
    """
    distances = torch.full((len(queries),), torch.inf, dtype=torch.float64)
    rows = torch.full((len(queries),), -1)
    closest = torch.full((len(queries), around), torch.inf, dtype=torch.float64)
    own = torch.full_like(rows, -1) if own is None else own.cpu()
    start = 0
    for piece in pieces:
        piece = piece.double()
        squares = piece.square().sum(dim=1)
        for block in torch.arange(len(queries)).split(_AT_ONCE):
            some = queries[block.to(queries.device)].double()
            found, where, others = _nearest_in(some, piece, squares, own[block] - start, around)
            closest[block] = torch.cat([closest[block], others], dim=1).topk(around, largest=False).values
            closer = found < distances[block]
            distances[block] = torch.where(closer, found, distances[block])
            rows[block] = torch.where(closer, where + start, rows[block])
        start += len(piece)
    return Neighbours(distances, rows, _mean(closest, distances))


def stand_out(found: Neighbours) -> Tensor:
    """Whether each query is far nearer to its nearest row than to the next ones, (Q,) bool."""
    return found.distances <= STANDS_OUT * found.around


def _mean(closest: Tensor, nearest_one: Tensor) -> Tensor:
    """Mean of the distances (Q, k) that are finite; the nearest one, which is known exactly, takes its place."""
    closest = torch.cat([nearest_one.unsqueeze(1), closest.sort(dim=1).values[:, 1:]], dim=1)
    known = closest.isfinite()
    return closest.where(known, 0.0).sum(dim=1) / known.sum(dim=1)


def ranks(distances: Tensor, sample: Tensor) -> Tensor:
    """Share of a sample that is at most as large as each distance, 0 to 1.

    Args:
        distances: (Q,).
        sample: (S,) to compare with, S at least 1.

    >>> ranks(torch.tensor([0.5, 2.0, 9.0]), torch.tensor([1.0, 2.0, 3.0, 4.0])).tolist()
    [0.0, 0.5, 1.0]
    """
    ordered = sample.sort().values
    return torch.searchsorted(ordered, distances, right=True).double() / len(ordered)


def _nearest_in(
    queries: Tensor, piece: Tensor, squares: Tensor, own: Tensor, around: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Distance to the nearest row of a piece, that row, both (Q,), and distances to the nearest (Q, k), on the CPU.

    By the norms and one matrix product, which round off most where rows are equal: the distance to the row that they
    choose is taken anew from the differences.
    """
    cost = squares - 2 * (queries @ piece.T)
    itself = ((own >= 0) & (own < len(piece))).nonzero().flatten().to(cost.device)
    cost[itself, own.to(cost.device)[itself]] = torch.inf
    least, where = cost.min(dim=1)
    distances = (queries - piece[where]).square().mean(dim=1).sqrt()
    others = cost.topk(min(around, len(piece)), largest=False).values + queries.square().sum(dim=1, keepdim=True)
    others = (others.clamp(min=0) / queries.shape[1]).sqrt()
    return torch.where(least.isinf(), torch.inf, distances).cpu(), where.cpu(), others.cpu()
