"""What every page shares: templates, headers, the answer to strangers and to errors, and where forms may come from."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlsplit

from fastapi import Depends, Request, Response
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined
from pydantic import BaseModel, ValidationError
from starlette.types import Receive, Scope, Send

from app.core import security
from app.core.errors import Forbidden, Invalid, ServiceError
from app.core.security import Principal
from app.core.settings import Settings
from app.dashboard.static_files import UPLOT, modules
from app.dashboard.wording import FILTERS
from ddcore.spec import Problem
from ddcore.version import __version__

Form = TypeVar("Form", bound=BaseModel)

HEADERS = {
    "Cache-Control": "no-store",
    # Browsers would send "Origin: null" with forms under the stricter policy of the other responses.
    "Referrer-Policy": "same-origin",
}


@cache
def templates() -> Environment:
    """The templates; what is not escaped on purpose is escaped."""
    environment = Environment(
        loader=PackageLoader("app.dashboard"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(FILTERS)
    environment.globals.update(version=__version__, uplot=UPLOT, modules=modules)
    return environment


def compile_all() -> None:
    """Compile every template, so that nobody who looks at a page first has to wait for it."""
    environment = templates()
    for name in environment.list_templates(extensions=["html"]):
        environment.get_template(name)


def render(name: str, status: int = 200, **values: Any) -> HTMLResponse:
    """A page."""
    return HTMLResponse(templates().get_template(name).render(**values), status, HEADERS)


class LoginPage(Response):
    """What somebody sees who is not logged in; made when it is sent, since how one can sign in is the application's.

    Args:
        onward: the page to show afterwards.
        fault: what was wrong with the key that was given.
    """

    def __init__(self, onward: str, fault: str) -> None:
        super().__init__(status_code=401)
        self._onward = onward
        self._fault = fault

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        settings: Settings = scope["app"].state.settings
        provider = settings.oidc_name if settings.oidc_issuer is not None else None
        shown = {"onward": self._onward, "fault": self._fault, "provider": provider}
        await render("login.html", 401, here="", principal=None, **shown)(scope, receive, send)


def login_page(onward: str = "/", fault: str = "") -> LoginPage:
    """What somebody sees who is not logged in.

    Args:
        onward: the page to show afterwards.
        fault: what was wrong with the key that was given.
    """
    return LoginPage(onward, fault)


def error_page(
    error: ServiceError, principal: Principal | None, back: str = "/", words: str = "All jobs"
) -> HTMLResponse:
    """An error as a page, with a link that leads on."""
    return render("error.html", error.status, here="", principal=principal, error=error, back=back, words=words)


async def same_origin(request: Request) -> None:
    """Refuse a form that another site's page has sent.

    Raises:
        Forbidden: the request does not come from one of our pages.
    """
    if urlsplit(request.headers.get("origin", "")).netloc != request.headers.get("host"):
        raise Forbidden("forms of the dashboard may only be sent from its own pages")


SameOrigin = Depends(same_origin)


async def fields(request: Request) -> dict[str, str]:
    """The fields of a form that were sent; the last of those with one name."""
    return dict(await pairs(request))


async def pairs(request: Request) -> list[tuple[str, str]]:
    """Every field of a form that was sent, in its order; of those with one name all."""
    return parse_qsl((await request.body()).decode("utf-8", "replace"))


def read_form(model: type[Form], values: Mapping[str, object]) -> Form:
    """What a form asks for.

    Raises:
        Invalid: a field is missing or wrong.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        faults = [(str(fault["loc"][0]), str(fault["msg"]).removeprefix("Value error, ")) for fault in error.errors()]
        raise Invalid([Problem(f"/{name}", "invalid", f"`{name}`: {words}") for name, words in faults]) from error


def check_writer(principal: Principal, what: str) -> None:
    """Refuse a key that may only look.

    Raises:
        Forbidden: it may not change ``what``.
    """
    if not principal.may(security.Scope.JOBS_WRITE):
        raise Forbidden(f"your key may look at {what}, but not change them (scope `jobs:write`)")


def base_url(request: Request) -> str:
    """Where the service answers, as the browser sees it."""
    return str(request.base_url).rstrip("/")


def local_path(path: str) -> str:
    """A path of this site; anything that could lead elsewhere becomes the first page."""
    safe = path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable()
    return path if safe else "/"
