"""Errors as problem documents (RFC 9457): no stack trace, no SQL and no path ever leaves the service."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from app.core import errors
from app.core.database import is_full
from app.core.dependencies import settings_of
from app.core.matching import has_route
from ddcore.spec import Problem, SpecError
from ddcore.spec.errors import echo, pointer

MEDIA_TYPE = "application/problem+json"
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")

log = structlog.get_logger(__name__)


class Fault(BaseModel):
    """One fault of a request's body."""

    pointer: str = Field(description="JSON pointer to the value at fault.")
    code: str
    detail: str


class ProblemDocument(BaseModel):
    """What every failed request is answered with."""

    type: str = Field(description="Address of the problem's explanation.")
    title: str
    status: int
    detail: str = Field(description="What is wrong with this request, and a way out.")
    instance: str = Field(description="`urn:request:` and the request's id, as in the service's log.")
    code: str = Field(description="Stable name of the problem, for programs.")
    errors: list[Fault] | None = Field(None, description="Every fault of the body, where `code` is `invalid`.")
    allowed: list[str] | None = Field(None, description="What the job's state allows, for `illegal_transition`.")


def responses(*problems: type[errors.ServiceError]) -> dict[int | str, dict[str, Any]]:
    """OpenAPI entries of the problems that a route can answer with."""
    by_status: dict[int | str, dict[str, Any]] = {}
    for problem in problems:
        text = f"`{problem.code}`: {problem.__doc__}"
        known = by_status.get(problem.status)
        description = f"{known['description']}\n\n{text}" if known else text
        by_status[problem.status] = {
            "description": description,
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDocument"}}},
        }
    return by_status


ANY_PROBLEM: dict[int | str, dict[str, Any]] = {
    "default": {
        "description": "Every failure is a problem document; `GET /problems` lists them all.",
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDocument"}}},
    }
}
"""OpenAPI entry of what any route can answer with; it replaces the framework's own, which would be wrong."""


def install(app: FastAPI) -> None:
    """Answer every error of ``app`` with a problem document."""
    app.add_exception_handler(errors.ServiceError, _handle)
    app.add_exception_handler(SpecError, _handle)
    app.add_exception_handler(RequestValidationError, _handle)
    app.add_exception_handler(HTTPException, _handle)
    for unavailable in (OperationalError, InterfaceError, PoolTimeoutError):
        app.add_exception_handler(unavailable, _handle)


def document(error: errors.ServiceError, request_id: str) -> JSONResponse:
    """The answer to a request that ended in ``error``."""
    body = {
        "type": f"/problems/{error.code}",
        "title": error.title,
        "status": error.status,
        "detail": error.detail,
        "instance": f"urn:request:{request_id}",
        "code": error.code,
        **error.extra,
    }
    return JSONResponse(body, error.status, headers=error.headers, media_type=MEDIA_TYPE)


async def _handle(request: Request, error: Exception) -> JSONResponse:
    problem = _problem(request, error)
    if problem.status >= 500:
        log.error("request failed", code=problem.code, reason=str(error))
    return document(problem, request.state.request_id)


def _problem(request: Request, error: Exception) -> errors.ServiceError:
    match error:
        case errors.ServiceError():
            return error
        case SpecError():
            return errors.Invalid(error.problems)
        case RequestValidationError():
            return _validation(request, error)
        case HTTPException():
            return _http(request, error)
        case _ if is_full(error):
            return errors.NoSpace("the disk of the database is full; send this again once there is room")
        case _:
            return errors.Unavailable("the database cannot be reached or is busy; try again shortly")


def _http(request: Request, error: HTTPException) -> errors.ServiceError:
    match error.status_code:
        case 408:
            return errors.RequestTimeout(
                "the body stopped coming, or came at less than a KiB a second for long (DD_BODY_TIMEOUT_S); send it "
                "again",
                headers={"Connection": "close"},
            )
        case 404:
            return errors.NotFound(f"there is nothing at {request.url.path}")
        case 405:
            allow = ", ".join(_methods(request))
            detail = f"{request.url.path} has no {request.method}; it has {allow}"
            return errors.MethodNotAllowed(detail, headers={"Allow": allow})
        case 413:
            limit = settings_of(request).body_limit
            return errors.BodyTooLarge(f"the body is larger than {limit} bytes", headers={"Connection": "close"})
        case 400:
            return errors.MalformedJson("the body cannot be read as JSON")
        case _:
            return errors.InternalError("the service failed on this request")


def _methods(request: Request) -> list[str]:
    """Methods that the request's address has, over all routes that share it."""
    routes = request.app.router.routes
    found = [method for method in METHODS if has_route(routes, request.scope, method)]
    # What has GET answers HEAD, see app.core.middleware.HeadAsGet.
    return [method for method in METHODS if method in found or (method == "HEAD" and "GET" in found)]


def _validation(request: Request, error: RequestValidationError) -> errors.ServiceError:
    found: Sequence[Any] = error.errors()
    first = found[0]
    where, *path = first["loc"]
    if where == "path":
        return errors.NotFound(f"there is nothing at {request.url.path}")
    if where != "body":
        value = f"{echo(first['input'])}: " if isinstance(first.get("input"), str | int | float) else ""
        return errors.InvalidParameter(f"{where} parameter `{path[0]}` is {value}{first['msg']}")
    if first["type"] == "json_invalid":
        return errors.MalformedJson(f"the body is not JSON: {first['ctx']['error']} at character {path[0]}")
    kind = request.headers.get("content-type", "nothing")
    if not kind.split(";")[0].strip().endswith("json") and first["type"] != "missing":
        return errors.UnsupportedMediaType(f"the body is declared as {kind}; send `Content-Type: application/json`")
    return errors.Invalid([Problem(pointer(e["loc"][1:]), str(e["type"]), _say(e)) for e in found])


def _say(fault: Any) -> str:
    path, name = fault["loc"][1:], fault["loc"][-1]
    if fault["type"] == "missing":
        return f"`{name}` is required" if path else "the request needs a JSON object as its body"
    if not path and fault["type"] != "value_error":
        return "the body must be a JSON object"
    if fault["type"] == "extra_forbidden":
        return f"unknown field `{name}`"
    message = str(fault["msg"]).removeprefix("Value error, ")
    if not path:
        return message
    value = fault.get("input")
    if not isinstance(value, str | int | float | bool | None):
        return f"`{name}`: {message}"
    return f"`{name}` is {echo(value)}: {message[0].lower()}{message[1:]}"
