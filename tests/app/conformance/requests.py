"""Requests made up from the description of the API, and what is asked of each answer."""

from __future__ import annotations

import random
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from urllib.parse import parse_qs, urlsplit

import anyio
import httpx
import jsonschema_rs
import requests
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, Phase, given, strategies
from hypothesis import seed as seeded
from hypothesis import settings as hypothesis_settings
from schemathesis import APIOperation, Case, CheckContext, GenerationMode, Response
from schemathesis.checks import not_a_server_error
from schemathesis.config import SchemathesisConfig
from schemathesis.core import NotSet
from schemathesis.core.failures import FailureGroup
from schemathesis.core.parameters import ParameterLocation

# The public ways send every case of an operation, which are thousands for a job; here some can be picked.
from schemathesis.generation.drivers import CoverageGenerator
from schemathesis.generation.feedback import NO_FEEDBACK
from schemathesis.generation.overrides import Override
from schemathesis.specs.openapi import checks as openapi
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.core.errors import CODES
from app.core.problems import MEDIA_TYPE
from tests.app.conformance.things import Things
from tests.app.conftest import Api

ANY_ROUTE = ("400", "401", "403", "405")
"""Statuses of refusals that the description gives once for all routes, as ``default``."""
ANY_BODY = ("413", "415", "422")
"""The same, for routes that take a body."""
LONGEST_WAIT_S = 0.1
MOST_CASES = 3000
"""Of an operation that are looked at for picking some."""
STREAM_S = 0.05
"""After which a client leaves a stream of events, which has no end."""
REFUSED = {"expected-statuses": ["4xx"]}
CHECKED = {"negative_data_rejection": REFUSED, "missing_required_header": REFUSED}

Operation = APIOperation[Any, Any, Any, Any]
MadeUp = Case[Any]


def refusal_is_explained(ctx: CheckContext, response: Response, case: MadeUp) -> None:
    """A refusal is a problem document whose code and status the service explains."""
    if response.status_code < 400:
        return
    assert response.headers["content-type"] == [MEDIA_TYPE]
    problem = response.json()
    assert CODES[problem["code"]].status == problem["status"] == response.status_code
    assert problem["detail"], "a refusal says why"


def undescribed_is_refused(ctx: CheckContext, response: Response, case: MadeUp) -> None:
    """What goes beyond the description is refused.

    Whether a body does is looked up: it may be another one than Schemathesis has made up, see :class:`Things`.
    """
    assert case.meta is not None
    url = str(response.request.url)
    if not case.meta.is_negative_at(ParameterLocation.BODY) and not _reads_as_described(case, url):
        openapi.negative_data_rejection(ctx, response, case)
    validator = _body_validator(case.operation)
    if validator is not None and response.status_code < 400 and not isinstance(case.body, NotSet):
        errors = [error.message for error in validator.iter_errors(case.body)]
        assert not errors, f"accepted: {errors}"


def _reads_as_described(case: MadeUp, url: str) -> bool:
    """Whether what is wrong with a case is lists of texts that an address cannot tell from right ones."""
    assert case.meta is not None
    about = case.meta.phase.data
    wrong = {about.parameter, *(one.parameter for one in getattr(about, "mutations", ()))} - {None}
    schemas = {one["name"]: one["schema"] for one in case.operation.definition.raw.get("parameters", ())}
    sent = parse_qs(urlsplit(url).query, keep_blank_values=True)
    return bool(wrong) and all(
        name in sent and _validator(case.operation, schemas.get(name, False)).is_valid(sent[name]) for name in wrong
    )


@cache
def _body_validator(operation: Operation) -> jsonschema_rs.Validator | None:
    """What tells whether a JSON body is as described."""
    body = operation.definition.raw.get("requestBody", {}).get("content", {}).get("application/json")
    return None if body is None else _validator(operation, body["schema"])


def _validator(operation: Operation, schema: Any) -> jsonschema_rs.Validator:
    components = operation.schema.raw_schema["components"]
    return jsonschema_rs.Draft202012Validator({"allOf": [schema], "components": components})


CHECKS = [
    not_a_server_error,
    openapi.status_code_conformance,
    openapi.content_type_conformance,
    openapi.response_headers_conformance,
    openapi.response_schema_conformance,
    openapi.missing_required_header,
    openapi.unsupported_method,
    refusal_is_explained,
    undescribed_is_refused,
]


class LeavesStreams:
    """The application as a client sees it who leaves every stream of events soon.

    Args:
        app: the application.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if not scope["path"].endswith("events:stream"):
            await self._app(scope, receive, send)
            return
        asked = ended = False

        async def receive_and_leave() -> Message:
            nonlocal asked
            if not asked:
                asked = True
                return await receive()
            await anyio.sleep(STREAM_S)
            return {"type": "http.disconnect"}

        async def send_on(message: Message) -> None:
            nonlocal ended
            ended = message["type"] == "http.response.body" and not message.get("more_body", False)
            await send(message)

        await self._app(scope, receive_and_leave, send_on)
        if not ended:
            await send({"type": "http.response.body", "body": b""})


def described(app: FastAPI, *, keys: bool = False) -> list[Operation]:
    """Every documented operation, those that take things away last.

    The description says by ``default`` that any status may come. Here each route may answer with what it lists, and
    with what any route does.

    Args:
        app: the application.
        keys: whether requests carry keys that are made up.
    """
    document = deepcopy(app.openapi())
    for operation in (one for path in document["paths"].values() for one in path.values()):
        answers = operation["responses"]
        problem = answers.pop("default")
        for status in ANY_ROUTE + (ANY_BODY if "requestBody" in operation else ()):
            answers.setdefault(status, problem)
    config = SchemathesisConfig.from_dict({"checks": CHECKED, "generation": {"with-security-parameters": keys}})
    schema = schemathesis.openapi.from_dict(document, config=config)
    found = [schema[path][method] for path, of_path in document["paths"].items() for method in of_path]
    return sorted(found, key=lambda operation: operation.method == "delete")


def picked(operation: Operation, most: int, chance: random.Random) -> list[MadeUp]:
    """Cases at the edges of what the description allows, and just beyond."""
    cases = CoverageGenerator(
        operation=operation,
        generation_modes=list(GenerationMode),
        generation_config=operation.schema.config.generation_for(operation=operation, phase="coverage"),
        auth_storage=None,
        override=Override(),
        feedback=NO_FEEDBACK,
    )
    kept: list[MadeUp] = []
    for number, case in zip(range(MOST_CASES), cases, strict=False):
        if len(kept) < most:
            kept.append(case)
        elif (place := chance.randrange(number + 1)) < most:
            kept[place] = case
    return kept


@dataclass
class Sender:
    """Sends cases and keeps what is wrong with their answers.

    Attributes:
        api: who asks.
        things: what there is, which requests name.
        operations: that are tried.
        chance: picks cases.
        wrong: a report for each operation and fault.
        statuses: that came, by operation.
    """

    api: Api
    things: Things
    operations: list[Operation]
    chance: random.Random
    wrong: dict[tuple[str, str], str] = field(default_factory=dict)
    statuses: dict[str, list[int]] = field(default_factory=dict)

    def attempt(self, operation: Operation, picks: int, examples: int, seed: int | None = None) -> None:
        """Try an operation.

        Args:
            operation: any.
            picks: cases at the edges of the description.
            examples: random cases.
            seed: of these; by default they are the same each time.
        """
        for case in picked(operation, picks, self.chance) if picks else ():
            self.send(case)
        self.fuzz(operation, examples, seed)

    def send(self, case: MadeUp) -> None:
        """Send a case."""
        self._name_things(case)
        response = self._answer(case)
        self.statuses.setdefault(case.operation.label, []).append(response.status_code)
        try:
            case.validate_response(response, checks=list(CHECKS))
        except FailureGroup as group:
            for failure in group.exceptions:
                self.wrong.setdefault((case.operation.label, failure.title), str(group))

    def fuzz(self, operation: Operation, examples: int, seed: int | None = None) -> None:
        """Send random cases, within the description and beyond it; the same ones each time where no seed is given."""
        how = hypothesis_settings(
            max_examples=examples,
            phases=(Phase.generate,),
            derandomize=seed is None,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        )
        cases = strategies.one_of([operation.as_strategy(generation_mode=mode) for mode in GenerationMode])
        check = how(given(case=cases)(self.send))
        (check if seed is None else seeded(seed)(check))()

    def _answer(self, case: MadeUp) -> httpx.Response:
        prepared = requests.Request(**case.as_transport_kwargs(base_url="http://test")).prepare()
        return self.api.request(
            str(prepared.method), str(prepared.url), content=prepared.body, headers=dict(prepared.headers)
        )

    def _name_things(self, case: MadeUp) -> None:
        """Let a case name what there is, where that takes nothing from what it tries; and wait for a moment only."""
        assert case.meta is not None
        if not case.meta.is_negative_at(ParameterLocation.PATH):
            case.path_parameters = self.things.named_in(case.operation.path, case.path_parameters)
        if not case.meta.is_negative_at(ParameterLocation.QUERY):
            case.query = self.things.named_in(case.operation.path, case.query)
        case.body = self.things.body(case.operation.path, case.body)
        wait = case.query.get("wait")
        if isinstance(wait, int | float) and wait > LONGEST_WAIT_S:
            case.query["wait"] = LONGEST_WAIT_S
