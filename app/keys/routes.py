"""API keys (``/v1/api-keys``), login links and the sessions they start."""

from __future__ import annotations

from typing import Annotated, Any

import structlog
from fastapi import APIRouter, Path, Query, Request, Response
from starlette.responses import RedirectResponse

from app.core.database import Database
from app.core.dependencies import DatabaseDep, SettingsDep, SignerDep, rates_of
from app.core.errors import Invalid, LastAdminKey, NotFound, Unauthenticated
from app.core.pagination import Page
from app.core.problems import responses
from app.core.security import Signer, seal_session
from app.core.settings import Settings
from app.keys import repository, service
from app.keys.principals import SESSION_COOKIE, Admin, AnyPrincipal, address
from app.keys.schemas import KeyDocument, KeyRequest, LoginLink, Me, NewKeyDocument, RotateRequest
from app.keys.service import DEFAULT_TENANT
from app.models.keys import ApiKey

router = APIRouter(tags=["keys"])

KeyId = Annotated[str, Path(pattern="^key_[0-9a-z]{8}$")]
NO_STORE = {"Cache-Control": "no-store"}

log = structlog.get_logger(__name__)


@router.post("/v1/api-keys", status_code=201, response_model=NewKeyDocument, responses=responses(Invalid))
def create_key(
    body: KeyRequest, principal: Admin, database: DatabaseDep, settings: SettingsDep, signer: SignerDep
) -> Response:
    """Make an API key; the answer is the only place where it is ever shown."""
    with database.write() as session:
        key, made = service.issue(session, signer, settings, principal, body)
        document = NewKeyDocument(**show(key).model_dump(), key=made.text)
    return Response(document.model_dump_json(), 201, NO_STORE, "application/json")


@router.get("/v1/api-keys", response_model=Page[KeyDocument])
def list_keys(principal: Admin, database: DatabaseDep) -> Response:
    """List the API keys, revoked ones included."""
    with database.read() as session:
        page = Page[KeyDocument](data=[show(key) for key in repository.listing(session, principal)])
    return Response(page.model_dump_json(), 200, NO_STORE, "application/json")


@router.post(
    "/v1/api-keys/{key_id}:rotate", status_code=201, response_model=NewKeyDocument, responses=responses(NotFound)
)
def rotate_key(
    key_id: KeyId,
    principal: Admin,
    database: DatabaseDep,
    settings: SettingsDep,
    signer: SignerDep,
    request: Request,
    body: RotateRequest | None = None,
) -> Response:
    """Replace a key by a new one that can do the same; the old one works on for `grace_s` seconds."""
    wanted = body or RotateRequest()
    with database.write() as session:
        key, made = service.rotate(session, signer, settings, principal, key_id, wanted.grace_s)
        document = NewKeyDocument(**show(key).model_dump(), key=made.text)
    request.app.state.keyring.forget(key_id)
    return Response(document.model_dump_json(), 201, NO_STORE, "application/json")


@router.delete("/v1/api-keys/{key_id:identifier}", status_code=204, responses=responses(NotFound, LastAdminKey))
def revoke_key(key_id: KeyId, principal: Admin, database: DatabaseDep, request: Request) -> None:
    """Revoke an API key, and with it the sessions it started; other processes follow within seconds."""
    with database.write() as session:
        service.revoke(session, principal, key_id)
    request.app.state.keyring.forget(key_id)


@router.get("/v1/me", response_model=Me)
def me(principal: AnyPrincipal, database: DatabaseDep, settings: SettingsDep) -> Me:
    """Name the tenant and the rights of the request, and what is left of the quota."""
    with database.read() as session:
        limit = repository.tenant(session, principal).max_queued
        unfinished = repository.unfinished_jobs(session, principal)
    return Me(
        tenant_id=principal.tenant_id,
        key_id=principal.key_id,
        scopes=sorted(principal.scopes),
        unfinished_jobs=unfinished,
        max_unfinished_jobs=settings.max_queued if limit is None else limit,
    )


@router.post("/v1/login-links", status_code=201, response_model=LoginLink)
def create_login_link(
    request: Request, principal: AnyPrincipal, database: DatabaseDep, settings: SettingsDep, signer: SignerDep
) -> Response:
    """Make a link that opens the dashboard once, on behalf of the key that asks."""
    url = str(request.base_url)
    if principal.key_id is not None:
        with database.write() as session:
            token = service.make_login_token(session, signer, settings, principal)
        url = f"{url}login?token={token}"
    link = LoginLink(url=url, expires_in_s=settings.login_link_s)
    return Response(link.model_dump_json(), 201, NO_STORE, "application/json")


@router.get("/login", include_in_schema=False)
def login(
    request: Request,
    database: DatabaseDep,
    settings: SettingsDep,
    signer: SignerDep,
    token: Annotated[str | None, Query(max_length=100)] = None,
) -> RedirectResponse:
    """Use a login link: start a session and go to the dashboard, which asks for a key where there is no link."""
    if token is None:
        return RedirectResponse("/", 303, NO_STORE)
    with database.write() as session:
        key_id = service.use_login_token(session, signer, token, address(request))
    if key_id is None:
        note_refusal(request, database, DEFAULT_TENANT, by="link", reason="used already, or too old")
        rates_of(request).failed(address(request))
        raise Unauthenticated(
            "this login link was used already, or is too old; `ddctl up` prints one, and "
            "`POST /v1/login-links` makes another"
        )
    response = RedirectResponse("/", 303, NO_STORE)
    start_session(response, request, signer, settings, key_id)
    return response


@router.post("/logout", include_in_schema=False)
def logout(request: Request) -> RedirectResponse:
    """End the session of this browser: its cookie is worth nothing from now on, also where it was copied."""
    cookie = request.cookies.get(SESSION_COOKIE)
    if cookie is not None:
        request.app.state.keyring.end_session(cookie, address(request), request.state.request_id)
    response = RedirectResponse("/", 303, NO_STORE)
    response.delete_cookie(SESSION_COOKIE, httponly=True, samesite="strict")
    return response


def start_session(response: Response, request: Request, signer: Signer, settings: Settings, key_id: str) -> None:
    """Give the browser a session that stands for a key."""
    response.set_cookie(
        SESSION_COOKIE,
        seal_session(signer, key_id, settings.session_s),
        max_age=settings.session_s,
        httponly=True,
        secure=request.url.scheme == "https",
        samesite="strict",
    )


def note_refusal(request: Request, database: Database, tenant_id: str, **details: Any) -> None:
    """Have the audit trail tell of a refused login, unless it tells of too many already; the log tells of each."""
    log.warning("login refused", address=address(request), tenant=tenant_id, **details)
    if rates_of(request).worth_noting(address(request)):
        with database.write() as session:
            service.note_refusal(session, tenant_id, address(request), request.state.request_id, **details)


def show(key: ApiKey) -> KeyDocument:
    """A key as JSON, without the key."""
    return KeyDocument(
        id=key.id,
        name=key.name,
        scopes=key.scopes,
        member_id=key.member_id,
        sign_in=key.sign_in,
        created_at=key.created_at,
        expires_at=key.expires_at,
        last_used_at=key.last_used_at,
        revoked_at=key.revoked_at,
    )
