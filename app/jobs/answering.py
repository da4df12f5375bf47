"""How a request that makes something is answered, the first time and when it is repeated."""

from __future__ import annotations

from fastapi import Response

from app.core.versioned import Versioned
from app.core.versions import answer
from app.jobs.idempotency import Answer


def respond(made: Versioned | Answer) -> Response:
    """201 with what was made and where it is; or 200 with the first answer to the key, once more."""
    if isinstance(made, Answer):
        headers = {"Location": made.location, "Idempotent-Replayed": "true"}
        return Response(made.body, 200, headers, "application/json")
    response = answer(made, 201)
    response.headers["Location"] = made.links["self"]
    return response
