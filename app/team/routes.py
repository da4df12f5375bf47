"""HTTP of tenants, members, the audit trail and use."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response

from app.core.dependencies import DatabaseDep, SettingsDep, SignerDep
from app.core.errors import Invalid, InvalidCursor, LastAdminKey, NotFound
from app.core.ids import pattern
from app.core.moments import Moment
from app.core.pagination import Page
from app.core.problems import responses
from app.core.security import Principal
from app.keys.principals import Admin, AnyPrincipal, Operator
from app.keys.routes import NO_STORE, show
from app.keys.schemas import NewKeyDocument
from app.models.audit import AuditEntry
from app.models.keys import Member, Tenant
from app.team import repository, service
from app.team.repository import AuditFilters
from app.team.schemas import (
    TENANT_ID,
    AuditDocument,
    MemberChange,
    MemberDocument,
    NewMember,
    NewTenant,
    NewTenantDocument,
    TenantChange,
    TenantDocument,
    Usage,
)

router = APIRouter(prefix="/v1", tags=["team"])

TenantId = Annotated[str, Path(pattern=TENANT_ID)]
MemberId = Annotated[str, Path(pattern=pattern("mem"))]


@router.post("/tenants", status_code=201, response_model=NewTenantDocument, responses=responses(Invalid))
def create_tenant(
    body: NewTenant, principal: Operator, database: DatabaseDep, settings: SettingsDep, signer: SignerDep
) -> Response:
    """Make a tenant; the answer is the only place where the key of its first admin is shown."""
    with database.write() as session:
        tenant, key, made = service.make_tenant(session, signer, settings, principal, body)
        shown = NewKeyDocument(**show(key).model_dump(), key=made.text)
        document = NewTenantDocument(**_tenant(tenant).model_dump(), key=shown)
    headers = {**NO_STORE, "Location": f"/v1/tenants/{document.id}"}
    return Response(document.model_dump_json(), 201, headers, "application/json")


@router.get("/tenants")
def list_tenants(_: Operator, database: DatabaseDep) -> Page[TenantDocument]:
    """List all tenants, the oldest first."""
    with database.read() as session:
        return Page[TenantDocument](data=[_tenant(tenant) for tenant in repository.tenants(session)])


@router.get("/tenants/{tenant_id}", responses=responses(NotFound))
def get_tenant(tenant_id: TenantId, _: Operator, database: DatabaseDep) -> TenantDocument:
    """Get a tenant."""
    with database.read() as session:
        return _tenant(service.find_tenant(session, tenant_id))


@router.patch("/tenants/{tenant_id}", responses=responses(NotFound, Invalid))
def change_tenant(
    tenant_id: TenantId, body: TenantChange, principal: Operator, database: DatabaseDep
) -> TenantDocument:
    """Change a tenant's name and limits, or disable it: its keys stop working within seconds."""
    with database.write() as session:
        return _tenant(service.change_tenant(session, principal, tenant_id, body))


@router.get("/tenants/{tenant_id}/usage", responses=responses(NotFound))
def get_tenant_usage(tenant_id: TenantId, principal: Operator, database: DatabaseDep, settings: SettingsDep) -> Usage:
    """Say what a tenant uses, and may use."""
    with database.read() as session:
        service.find_tenant(session, tenant_id)
        return service.usage_of(session, settings, Principal(tenant_id, principal.key_id, principal.scopes))


@router.post("/members", status_code=201, responses=responses(Invalid))
def add_member(body: NewMember, principal: Admin, database: DatabaseDep, response: Response) -> MemberDocument:
    """Add a member to the tenant; `POST /v1/api-keys` with `member_id` makes keys for them."""
    with database.write() as session:
        document = _member(service.add_member(session, principal, body))
    response.headers["Location"] = f"/v1/members/{document.id}"
    return document


@router.get("/members")
def list_members(principal: Admin, database: DatabaseDep) -> Page[MemberDocument]:
    """List the members of the tenant, disabled ones included."""
    with database.read() as session:
        return Page[MemberDocument](data=[_member(one) for one in repository.members(session, principal.tenant_id)])


@router.get("/members/{member_id}", responses=responses(NotFound))
def get_member(member_id: MemberId, principal: Admin, database: DatabaseDep) -> MemberDocument:
    """Get a member."""
    with database.read() as session:
        return _member(service.find_member(session, principal, member_id))


@router.patch("/members/{member_id}", responses=responses(NotFound, Invalid, LastAdminKey))
def change_member(
    member_id: MemberId, body: MemberChange, principal: Admin, database: DatabaseDep, request: Request
) -> MemberDocument:
    """Change a member's name or role, disable or unlink them: their keys and sessions follow within seconds."""
    with database.write() as session:
        document = _member(service.change_member(session, principal, member_id, body))
    request.app.state.keyring.forget_all()
    return document


@router.delete("/members/{member_id}", status_code=204, responses=responses(NotFound, LastAdminKey))
def remove_member(member_id: MemberId, principal: Admin, database: DatabaseDep, request: Request) -> None:
    """Remove a member, and revoke their keys and sessions; what they did stays in the audit trail."""
    with database.write() as session:
        service.remove_member(session, principal, member_id)
    request.app.state.keyring.forget_all()


@router.get("/audit", responses=responses(InvalidCursor))
def list_audit(
    principal: Admin,
    database: DatabaseDep,
    signer: SignerDep,
    action: Annotated[str | None, Query(max_length=40, description="Only this act, such as `job.cancel`.")] = None,
    key: Annotated[str | None, Query(max_length=40, description="Only acts of this key.")] = None,
    object: Annotated[str | None, Query(max_length=64, description="Only what was done to this.")] = None,
    since: Annotated[Moment | None, Query(description="Only acts from then on.")] = None,
    until: Annotated[Moment | None, Query(description="Only acts before then.")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[str | None, Query(max_length=1000)] = None,
) -> Page[AuditDocument]:
    """List what was done in the tenant's name, the newest first; entries outlive what they are about."""
    filters = AuditFilters(action, key, object, since, until)
    with database.read() as session:
        found, following = service.trail(session, signer, principal, filters, cursor, limit)
        return Page[AuditDocument](data=[_entry(entry) for entry in found], next_cursor=following)


@router.get("/usage")
def get_usage(principal: AnyPrincipal, database: DatabaseDep, settings: SettingsDep) -> Usage:
    """Say what the tenant uses, and may use."""
    with database.read() as session:
        return service.usage_of(session, settings, principal)


def _tenant(tenant: Tenant) -> TenantDocument:
    return TenantDocument.model_validate(tenant, from_attributes=True)


def _member(member: Member) -> MemberDocument:
    return MemberDocument.model_validate(member, from_attributes=True)


def _entry(entry: AuditEntry) -> AuditDocument:
    return AuditDocument.model_validate(entry, from_attributes=True)
