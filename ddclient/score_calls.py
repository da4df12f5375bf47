"""The requests of the REST API about scores; see :mod:`ddclient.calls`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx

from ddclient.calls import PAGE, Call, Page, listed, nothing
from ddclient.packing import Content
from ddclient.score_models import Leaderboard, ScoreDocument


def announce(content: Content, dataset: str, fields: Mapping[str, Any]) -> Call[ScoreDocument]:
    """Say that the bytes of a set will be sent, and by what it is to be scored."""
    body = {"file": content.name, "size": content.size, "dataset": dataset}
    given = {name: value for name, value in fields.items() if value is not None}
    return Call("POST", "/v1/scores", _score, json={**body, **given})


def scores(dataset: str | None) -> Call[Page[ScoreDocument]]:
    """All scores, or those on a dataset, newest first."""
    return listed("/v1/scores", ScoreDocument.model_validate, {"dataset": dataset, "limit": PAGE})


def one(score_id: str) -> Call[ScoreDocument]:
    """One score."""
    return Call("GET", f"/v1/scores/{score_id}", _score)


def cancel(score_id: str) -> Call[ScoreDocument]:
    """Stop scoring a set."""
    return Call("POST", f"/v1/scores/{score_id}:cancel", _score, json={})


def delete(score_id: str) -> Call[None]:
    """Delete a score."""
    return Call("DELETE", f"/v1/scores/{score_id}", nothing)


def leaderboard(dataset: str | None, ipc: int | None) -> Call[Leaderboard]:
    """What is scored, ranked."""
    query = {"dataset": dataset, "ipc": ipc}
    return Call("GET", "/v1/leaderboard", lambda answer: Leaderboard.model_validate(answer.json()), query)


def _score(answer: httpx.Response) -> ScoreDocument:
    return ScoreDocument.model_validate(answer.json())
