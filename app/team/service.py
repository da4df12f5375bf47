"""What can be done with tenants and members. Nothing here commits, and nothing here knows HTTP."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from sqlalchemy.orm import Session

from app.core.database import now
from app.core.errors import Invalid, LastAdminKey, NotFound
from app.core.ids import new_id
from app.core.pagination import Cursors
from app.core.security import KeyText, Principal, Scope, Signer
from app.core.settings import Settings
from app.jobs import quota
from app.keys import audit
from app.keys import repository as keys
from app.keys import service as keyring
from app.models.audit import AuditEntry
from app.models.keys import ApiKey, Member, Tenant
from app.queue import usage
from app.team import repository
from app.team.repository import AuditFilters
from app.team.schemas import Amount, MemberChange, NewMember, NewTenant, TenantChange, Usage
from app.uploads.quota import bytes_used, quota_of
from ddcore.spec import Problem

NEVER_NULL = ("name", "weight")


def make_tenant(
    session: Session, signer: Signer, settings: Settings, principal: Principal, request: NewTenant
) -> tuple[Tenant, ApiKey, KeyText]:
    """Make a tenant, with the key of its first admin.

    Raises:
        Invalid: there is one of that identifier.
    """
    keys.tenant(session, principal, lock=True)  # Of two that take one identifier at once, the second is told so.
    if keys.has_tenant(session, request.id):
        detail = f"`id` is '{request.id}', which a tenant has already; choose another, or PATCH that one"
        raise Invalid([Problem("/id", "taken", detail)])
    fields = request.model_dump(exclude={"name"})
    tenant = Tenant(**fields, name=request.name or request.id)
    session.add(tenant)
    session.flush()
    session.refresh(tenant)
    key, made = keyring.create(
        session, signer, settings, tenant_id=tenant.id, name="the first admin", scopes=[Scope.ADMIN]
    )
    audit.record(session, principal, "tenant.create", tenant.id, key=key.id)
    return tenant, key, made


def find_tenant(session: Session, tenant_id: str) -> Tenant:
    """A tenant.

    Raises:
        NotFound: there is none.
    """
    found = repository.tenant(session, tenant_id)
    if found is None:
        raise NotFound(f"there is no tenant {tenant_id}; GET /v1/tenants lists them")
    return found


def change_tenant(session: Session, principal: Principal, tenant_id: str, request: TenantChange) -> Tenant:
    """Change a tenant's name, limits, or whether its keys work.

    Raises:
        NotFound: there is none.
        Invalid: a field that cannot be empty is null, or the operator's own tenant is to be disabled.
    """
    tenant = find_tenant(session, tenant_id)
    values = request.model_dump(exclude_unset=True, exclude={"disabled"})
    for name in NEVER_NULL:
        if name in values and values[name] is None:
            raise Invalid([Problem(f"/{name}", "null", f"`{name}` cannot be null; leave it out to keep it")])
    if request.disabled and tenant_id == principal.tenant_id:
        detail = "`disabled` is true for the tenant of this key, which could not undo it; use a key of another operator"
        raise Invalid([Problem("/disabled", "your_own", detail)])
    repository.change(session, tenant, values, request.disabled)
    about = request.model_dump(exclude_unset=True)
    audit.record(session, principal, "tenant.change", tenant_id, **about)
    return tenant


def add_member(session: Session, principal: Principal, request: NewMember) -> Member:
    """Add a member to the principal's tenant.

    Raises:
        Invalid: there is one of that address.
    """
    keys.tenant(session, principal, lock=True)  # Of two that add one address at once, the second is told so.
    if any(known.email == request.email for known in repository.members(session, principal.tenant_id)):
        detail = f"`email` is {request.email}, which a member has already; PATCH that one"
        raise Invalid([Problem("/email", "taken", detail)])
    member = Member(
        id=new_id("mem"),
        tenant_id=principal.tenant_id,
        email=request.email,
        name=request.name or request.email,
        role=request.role,
    )
    session.add(member)
    session.flush()
    session.refresh(member)
    audit.record(session, principal, "member.add", member.id, email=member.email, role=member.role)
    return member


def find_member(session: Session, principal: Principal, member_id: str) -> Member:
    """A member of the principal's tenant.

    Raises:
        NotFound: there is none.
    """
    found = keys.member(session, principal.tenant_id, member_id)
    if found is None:
        raise NotFound(f"you have no member {member_id}")
    return found


def change_member(session: Session, principal: Principal, member_id: str, request: MemberChange) -> Member:
    """Change a member's name, role, or whether their keys work.

    Raises:
        NotFound: there is none.
        Invalid: a field that cannot be empty is null.
        LastAdminKey: no key of the tenant could make keys any more.
    """
    keys.tenant(session, principal, lock=True)
    member = find_member(session, principal, member_id)
    values = request.model_dump(exclude_unset=True, exclude={"disabled", "unlink"})
    for name, value in values.items():
        if value is None:
            raise Invalid([Problem(f"/{name}", "null", f"`{name}` cannot be null; leave it out to keep it")])
    if request.unlink:
        values |= {"oidc_issuer": None, "oidc_subject": None}
        keys.revoke_all(session, member_id, sign_in_only=True)
    with _admins_left(session, principal, member):
        repository.change(session, member, values, request.disabled)
    audit.record(session, principal, "member.change", member_id, **request.model_dump(exclude_unset=True))
    return member


def remove_member(session: Session, principal: Principal, member_id: str) -> None:
    """Remove a member; their keys and sessions are revoked, what they did stays.

    Raises:
        NotFound: there is none.
        LastAdminKey: no key of the tenant could make keys any more.
    """
    keys.tenant(session, principal, lock=True)
    member = find_member(session, principal, member_id)
    with _admins_left(session, principal, member):
        revoked = keys.revoke_all(session, member_id)
        repository.remove(session, member)
    audit.record(session, principal, "member.remove", member_id, email=member.email, keys=revoked)


@contextmanager
def _admins_left(session: Session, principal: Principal, member: Member) -> Iterator[None]:
    """Do something to a member, unless nobody could undo it.

    Raises:
        LastAdminKey: no key of the tenant could make keys any more.
    """
    could = keys.working_admins(session, principal)
    yield
    if could and not keys.working_admins(session, principal):
        raise LastAdminKey(
            f"{member.email} has the last working key with the scope `admin`; make another first "
            "(`ddctl keys create NAME --scope admin`), or nobody could make keys any more"
        )


def trail(
    session: Session, signer: Signer, principal: Principal, filters: AuditFilters, cursor: str | None, limit: int
) -> tuple[Sequence[AuditEntry], str | None]:
    """A page of what was done in the tenant's name, the newest first, and the cursor of the next one.

    Raises:
        InvalidCursor: it is of another list, or of none.
    """
    cursors = Cursors(signer, {"list": "audit", **vars(filters)})
    before = int(cursors.open(cursor)["number"]) if cursor else None
    found = repository.acts(session, principal.tenant_id, filters, before, limit + 1)
    following = cursors.seal({"number": found[limit - 1].number}) if len(found) > limit else None
    return found[:limit], following


def usage_of(session: Session, settings: Settings, principal: Principal) -> Usage:
    """What the principal's tenant uses, and may use."""
    tenant, moment = keys.tenant(session, principal), now(session)
    by_device = usage.minutes(session, tenant.id, moment)
    queued = settings.max_queued if tenant.max_queued is None else tenant.max_queued
    return Usage(
        tenant_id=tenant.id,
        month=usage.month_of(moment),
        renews_at=usage.next_month(moment),
        minutes=Amount(used=sum(by_device.values()), limit=tenant.max_month_minutes),
        minutes_by_device=dict(by_device),
        running_jobs=Amount(used=repository.running_jobs(session, tenant.id), limit=tenant.max_running),
        unfinished_jobs=Amount(used=keys.unfinished_jobs(session, principal), limit=queued),
        work_hours=Amount(used=usage.work_left(session, tenant.id) / 3600, limit=quota.work_bound(tenant, settings)),
        dataset_bytes=Amount(used=bytes_used(session, principal.tenant_id), limit=quota_of(tenant, settings)),
        artifact_bytes=repository.artifact_bytes(session, tenant.id),
    )
