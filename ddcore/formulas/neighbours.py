"""Nearest neighbours of a few rows among many, and how close is unusually close.

Distances are root mean squares of the differences of all values of two rows, so that they have the unit of one value
whatever the number of values. Arithmetic is float64: near copies differ in the last digits.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

_AT_ONCE = 1024
"""Rows whose distances to a piece are in memory together."""


class Neighbours(NamedTuple):
    """The nearest of many rows to each of a few.

    Attributes:
        distances: (Q,) float64, root mean square difference; infinite where there was no row to compare with.
        rows: (Q,) int64, counted over all pieces; -1 where there was none.
    """

    distances: Tensor
    rows: Tensor


def nearest(queries: Tensor, pieces: Iterable[Tensor], own: Tensor | None = None) -> Neighbours:
    """The nearest row to each query; of equally near ones the first.

    No more than one piece and a block of queries are in memory as float64.

    Args:
        queries: (Q, F) floating point, Q at least 1.
        pieces: rows (n, F) to search, piece after piece.
        own: (Q,) int64, the row that a query is itself and must not find; -1 for none. By default none.

    Returns:
        On the CPU.

    >>> nearest(torch.tensor([[0.0, 0.0], [9.0, 9.0]]), [torch.tensor([[1.0, 1.0]]), torch.tensor([[7.0, 7.0]])])
    Neighbours(distances=tensor([1., 2.], dtype=torch.float64), rows=tensor([0, 1]))
    """
    distances = torch.full((len(queries),), torch.inf, dtype=torch.float64)
    rows = torch.full((len(queries),), -1)
    own = torch.full_like(rows, -1) if own is None else own.cpu()
    start = 0
    for piece in pieces:
        piece = piece.double()
        squares = piece.square().sum(dim=1)
        for block in torch.arange(len(queries)).split(_AT_ONCE):
            found, where = _nearest_in(queries[block.to(queries.device)].double(), piece, squares, own[block] - start)
            closer = found < distances[block]
            distances[block] = torch.where(closer, found, distances[block])
            rows[block] = torch.where(closer, where + start, rows[block])
        start += len(piece)
    return Neighbours(distances, rows)


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


def _nearest_in(queries: Tensor, piece: Tensor, squares: Tensor, own: Tensor) -> tuple[Tensor, Tensor]:
    """Distance to the nearest row of a piece, and that row, both (Q,) on the CPU.

    By the norms and one matrix product, which round off most where rows are equal: the distance to the row that they
    choose is taken anew from the differences.
    """
    cost = squares - 2 * (queries @ piece.T)
    itself = ((own >= 0) & (own < len(piece))).nonzero().flatten().to(cost.device)
    cost[itself, own.to(cost.device)[itself]] = torch.inf
    least, where = cost.min(dim=1)
    distances = (queries - piece[where]).square().mean(dim=1).sqrt()
    return torch.where(least.isinf(), torch.inf, distances).cpu(), where.cpu()
