"""Pages of the team: use, keys, members and what was done."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import RedirectResponse
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from app.core.database import Database
from app.core.dependencies import DatabaseDep, SettingsDep, SignerDep
from app.core.errors import Forbidden, ServiceError
from app.core.ids import pattern
from app.core.security import Principal, Role, Scope
from app.core.settings import Settings
from app.dashboard.rendering import SameOrigin, error_page, fields, login_page, read_form, render
from app.keys import repository as keys
from app.keys import service as keyring
from app.keys.principals import OptionalPrincipal
from app.keys.routes import KeyId
from app.keys.schemas import KeyRequest
from app.team import repository, service
from app.team.repository import AuditFilters
from app.team.schemas import MemberChange, NewMember

router = APIRouter(include_in_schema=False)

ACTS = 50
GRACE_S = 86_400.0
GIVEN = {
    Scope.JOBS_READ: "see jobs",
    Scope.JOBS_WRITE: "submit and change jobs",
    Scope.ARTIFACTS_READ: "download results",
    Scope.ADMIN: "everything, keys and members included",
}
"""What a key can be given on the page, in words."""


@router.get("/team")
def team(principal: OptionalPrincipal, database: DatabaseDep, settings: SettingsDep) -> Response:
    """Use, keys and members."""
    return login_page("/team") if principal is None else _page(principal, database, settings)


@router.post("/team/keys", dependencies=[SameOrigin])
async def create_key(
    request: Request, principal: OptionalPrincipal, database: DatabaseDep, settings: SettingsDep, signer: SignerDep
) -> Response:
    """Make a key, and show it once."""
    form = await fields(request)
    wanted = {
        "name": form.get("name", ""),
        "scopes": [scope for scope in GIVEN if form.get(scope) == "on"],
        "member_id": form.get("member") or None,
    }

    def make(session: Session, who: Principal) -> str:
        return keyring.issue(session, signer, settings, who, read_form(KeyRequest, wanted))[1].text

    return await run_in_threadpool(_act, principal, database, settings, make)


@router.post("/team/keys/{key_id}/{verb}", dependencies=[SameOrigin])
def change_key(
    key_id: KeyId,
    verb: Literal["rotate", "revoke"],
    request: Request,
    principal: OptionalPrincipal,
    database: DatabaseDep,
    settings: SettingsDep,
    signer: SignerDep,
) -> Response:
    """Replace a key, or make it useless."""

    def change(session: Session, who: Principal) -> str | None:
        if verb == "revoke":
            keyring.revoke(session, who, key_id)
            return None
        return keyring.rotate(session, signer, settings, who, key_id, GRACE_S)[1].text

    answer = _act(principal, database, settings, change)
    request.app.state.keyring.forget(key_id)
    return answer


@router.post("/team/members", dependencies=[SameOrigin])
async def add_member(
    request: Request, principal: OptionalPrincipal, database: DatabaseDep, settings: SettingsDep
) -> Response:
    """Add a member."""
    form = await fields(request)
    wanted = {"email": form.get("email", ""), "name": form.get("name") or None, "role": form.get("role", "")}

    def add(session: Session, who: Principal) -> None:
        service.add_member(session, who, read_form(NewMember, wanted))

    return await run_in_threadpool(_act, principal, database, settings, add)


@router.post("/team/members/{member_id}/{verb}", dependencies=[SameOrigin])
def change_member(
    member_id: Annotated[str, Path(pattern=pattern("mem"))],
    verb: Literal["disable", "enable", "unlink", "remove"],
    request: Request,
    principal: OptionalPrincipal,
    database: DatabaseDep,
    settings: SettingsDep,
) -> Response:
    """Disable a member or let them in again, forget their account at the provider, or remove them."""

    def change(session: Session, who: Principal) -> None:
        if verb == "remove":
            service.remove_member(session, who, member_id)
            return
        wanted = MemberChange(unlink=True) if verb == "unlink" else MemberChange(disabled=verb == "disable")
        service.change_member(session, who, member_id, wanted)

    answer = _act(principal, database, settings, change)
    request.app.state.keyring.forget_all()
    return answer


@router.get("/team/audit")
def audit(
    principal: OptionalPrincipal,
    database: DatabaseDep,
    signer: SignerDep,
    object: Annotated[str | None, Query(max_length=64)] = None,
    cursor: Annotated[str | None, Query(max_length=1000)] = None,
) -> Response:
    """What was done in the tenant's name."""
    if principal is None:
        return login_page("/team/audit")
    try:
        _check_admin(principal)
        with database.read() as session:
            acts, following = service.trail(session, signer, principal, AuditFilters(object_id=object), cursor, ACTS)
    except ServiceError as error:
        return error_page(error, principal, "/team", "Back to the team")
    return render("audit.html", here="team", principal=principal, acts=acts, following=following, object_id=object)


def _act(
    principal: Principal | None, database: Database, settings: Settings, act: Callable[[Session, Principal], str | None]
) -> Response:
    """Do something on behalf of an admin; then the page, with what it gave to be shown once."""
    if principal is None:
        return login_page("/team")
    try:
        _check_admin(principal)
        with database.write() as session:
            secret = act(session, principal)
    except ServiceError as error:
        return error_page(error, principal, "/team", "Back to the team")
    # A reload of the page must not show a secret again, or make another.
    return RedirectResponse("/team", 303) if secret is None else _page(principal, database, settings, secret)


def _page(principal: Principal, database: Database, settings: Settings, secret: str | None = None) -> Response:
    admin = principal.may(Scope.ADMIN)
    with database.read() as session:
        usage = service.usage_of(session, settings, principal)
        members = repository.members(session, principal.tenant_id) if admin else []
        listed = keys.listing(session, principal) if admin else []
    return render(
        "team.html", here="team", principal=principal, usage=usage, members=members, keys=listed, admin=admin,
        secret=secret, given=GIVEN, roles=list(Role), addresses={member.id: member.email for member in members},
        provider=settings.oidc_name if settings.oidc_issuer is not None else None,
    )  # fmt: skip


def _check_admin(principal: Principal) -> None:
    if not principal.may(Scope.ADMIN):
        raise Forbidden("keys, members and the audit trail are for keys with the scope `admin`")
