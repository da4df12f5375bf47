"""The REST resource ``/v1/leaderboard``."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from app.scores.board_schemas import Leaderboard
from app.scores.leaderboard import leaderboard
from app.scores.transactions import ScoresToRead

router = APIRouter(prefix="/v1/leaderboard", tags=["scores"])


@router.get("")
def get_leaderboard(
    scores: ScoresToRead,
    dataset: Annotated[
        str | None, Query(max_length=200, description="Default: that on which something was scored last.")
    ] = None,
    ipc: Annotated[
        int | None, Query(ge=1, le=10_000, description="Images of each class. Default: those scored last.")
    ] = None,
) -> Leaderboard:
    """Rank everything that you have scored: your jobs' sets and those of others, within each recipe.

    Accuracies of two recipes do not compare, so each has a list of its own; figures of the literature stand apart.
    """
    with scores.database.read() as session:
        return leaderboard(session, scores.principal, scores.settings, dataset, ipc)
