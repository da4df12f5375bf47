"""SQL on tenants, API keys and login links."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, delete, exists, func, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.core.security import Principal, Role, Scope
from app.core.tables import clock
from app.models.jobs import Job
from app.models.keys import ApiKey, EndedSession, LoginToken, Member, Tenant
from app.models.states import TERMINAL


def ensure_tenant(session: Session, tenant_id: str, name: str) -> None:
    """Create a tenant that does not exist yet, and lock it until the transaction ends."""
    try:
        with session.begin_nested():
            session.add(Tenant(id=tenant_id, name=name))
    except IntegrityError:
        # It was there before, or another process has just made it.
        session.execute(select(Tenant.id).where(Tenant.id == tenant_id).with_for_update())


def has_tenant(session: Session, tenant_id: str) -> bool:
    """Whether there is such a tenant."""
    return session.get(Tenant, tenant_id) is not None


def tenant(session: Session, principal: Principal, *, lock: bool = False) -> Tenant:
    """The principal's tenant; locked, its quota is counted by one transaction at a time."""
    statement = select(Tenant).where(Tenant.id == principal.tenant_id)
    if lock:
        statement = statement.with_for_update()
    return session.execute(statement).scalar_one()


def unfinished_jobs(session: Session, principal: Principal) -> int:
    """Number of the tenant's jobs that have not ended."""
    mine = (Job.tenant_id == principal.tenant_id, Job.deleted_at.is_(None))
    statement = select(func.count()).select_from(Job).where(*mine, Job.status.not_in(TERMINAL))
    return session.execute(statement).scalar_one()


def any_key(session: Session) -> bool:
    """Whether there is an API key that still works, and that somebody can have."""
    return bool(session.execute(select(exists().where(ApiKey.sign_in.is_(False), *_usable()))).scalar_one())


def usable(session: Session, key_id: str) -> ApiKey | None:
    """A key that is neither revoked nor expired, and whose tenant, and member if it is one's, work."""
    owned = select(ApiKey).join(Tenant, Tenant.id == ApiKey.tenant_id).outerjoin(Member, Member.id == ApiKey.member_id)
    # A key that was made while its member was removed is nobody's.
    whose = or_(ApiKey.member_id.is_(None), Member.id.is_not(None))
    working = (Tenant.disabled_at.is_(None), Member.disabled_at.is_(None), whose)
    return session.execute(owned.where(ApiKey.id == key_id, *working, *_usable())).scalar_one_or_none()


def role(session: Session, key: ApiKey) -> Role | None:
    """The role of the member whose key it is; ``None`` for a key of the tenant itself."""
    owner = None if key.member_id is None else session.get(Member, key.member_id)
    return None if owner is None else Role(owner.role)


def member(session: Session, tenant_id: str, member_id: str) -> Member | None:
    """A member of a tenant, disabled ones included."""
    found = session.get(Member, member_id)
    return found if found is not None and found.tenant_id == tenant_id else None


def touch(session: Session, key_id: str, every_s: float) -> None:
    """Note that a key was used, at most once in ``every_s`` seconds."""
    session.execute(
        update(ApiKey)
        .where(ApiKey.id == key_id)
        .where(ApiKey.last_used_at.is_(None) | (ApiKey.last_used_at < clock(-every_s)))
        .values(last_used_at=clock())
        .execution_options(synchronize_session=False)
    )


def listing(session: Session, principal: Principal) -> Sequence[ApiKey]:
    """The tenant's keys, newest first, revoked ones included."""
    return (
        session.execute(
            select(ApiKey)
            .where(ApiKey.tenant_id == principal.tenant_id)
            .order_by(ApiKey.created_at.desc(), ApiKey.id.desc())
        )
        .scalars()
        .all()
    )


def own(session: Session, principal: Principal, key_id: str) -> ApiKey | None:
    """One of the tenant's keys that still works."""
    statement = select(ApiKey).where(ApiKey.id == key_id, ApiKey.tenant_id == principal.tenant_id, *_usable())
    return session.execute(statement.with_for_update()).scalar_one_or_none()


def working_admins(session: Session, principal: Principal) -> set[str]:
    """The tenant's working keys that may make and revoke keys: those of members only while they are admins.

    What stands for sessions does not count: a provider that is gone must not lock everybody out.
    """
    owned = select(ApiKey).outerjoin(Member, Member.id == ApiKey.member_id)
    able = (
        Member.disabled_at.is_(None),
        or_(ApiKey.member_id.is_(None), Member.role == Role.ADMIN),
        ApiKey.sign_in.is_(False),
    )
    statement = owned.where(ApiKey.tenant_id == principal.tenant_id, *able, *_usable())
    return {key.id for key in session.scalars(statement) if Scope.ADMIN in key.scopes}


def add(
    session: Session,
    *,
    key_id: str,
    tenant_id: str,
    name: str,
    digest: str,
    scopes: Sequence[str],
    expires_at: datetime | None,
    member_id: str | None = None,
    sign_in: bool = False,
) -> ApiKey:
    """Keep a new key's digest."""
    key = ApiKey(
        id=key_id,
        tenant_id=tenant_id,
        name=name,
        digest=digest,
        scopes=list(scopes),
        expires_at=expires_at,
        member_id=member_id,
        sign_in=sign_in,
    )
    session.add(key)
    session.flush()
    session.refresh(key)
    return key


def known(session: Session, key_id: str) -> ApiKey | None:
    """A key of any tenant, whether it works or not."""
    return session.get(ApiKey, key_id)


def sign_in_key(session: Session, member_id: str) -> ApiKey | None:
    """The working key that the sessions of a member stand for, if they have begun one at a provider."""
    statement = select(ApiKey).where(ApiKey.member_id == member_id, ApiKey.sign_in.is_(True), *_usable())
    return session.scalars(statement.order_by(ApiKey.created_at)).first()


def revoke(session: Session, principal: Principal, key_id: str) -> bool:
    """Make one of the tenant's keys useless for ever; whether it exists."""
    found = session.execute(
        update(ApiKey)
        .where(ApiKey.id == key_id, ApiKey.tenant_id == principal.tenant_id, ApiKey.revoked_at.is_(None))
        .values(revoked_at=clock())
        .returning(ApiKey.id)
        .execution_options(synchronize_session=False)
    ).all()
    return bool(found)


def revoke_all(session: Session, member_id: str, *, sign_in_only: bool = False) -> list[str]:
    """Make the keys of a member useless for ever, and the sessions that stand for them.

    Args:
        session: of the transaction.
        member_id: whose keys.
        sign_in_only: leave all that have a text.

    Returns:
        Identifiers of those that were not before.
    """
    which = (ApiKey.sign_in.is_(True),) if sign_in_only else ()
    return sorted(
        session.scalars(
            update(ApiKey)
            .where(ApiKey.member_id == member_id, ApiKey.revoked_at.is_(None), *which)
            .values(revoked_at=clock())
            .returning(ApiKey.id)
            .execution_options(synchronize_session=False)
        )
    )


def expire(session: Session, key: ApiKey, seconds: float) -> None:
    """Have a key end after so many seconds, unless it ends before."""
    session.execute(
        update(ApiKey)
        .where(ApiKey.id == key.id, ApiKey.expires_at.is_(None) | (ApiKey.expires_at > clock(seconds)))
        .values(expires_at=clock(seconds))
        .execution_options(synchronize_session=False)
    )
    session.refresh(key)


def add_login(session: Session, *, digest: str, key_id: str, lifetime_s: float) -> None:
    """Keep a login link's digest, and forget those whose time is over."""
    session.execute(delete(LoginToken).where(LoginToken.expires_at < clock()))
    session.add(LoginToken(digest=digest, key_id=key_id, expires_at=clock(lifetime_s)))
    session.flush()


def take_login(session: Session, digest: str) -> str | None:
    """Use a login link up; the key it stands for, or ``None`` where it is unknown, used or too old."""
    return session.execute(
        delete(LoginToken)
        .where(LoginToken.digest == digest, LoginToken.expires_at >= clock())
        .returning(LoginToken.key_id)
        .execution_options(synchronize_session=False)
    ).scalar_one_or_none()


def end_session(session: Session, session_id: str, expires_at: datetime) -> bool:
    """Have a session's cookie be worth nothing, and forget those that ended by themselves.

    Returns:
        Whether it was worth something until now; of several who ask at once, one is told so.
    """
    session.execute(delete(EndedSession).where(EndedSession.expires_at < clock()))
    try:
        with session.begin_nested():
            session.add(EndedSession(id=session_id, expires_at=expires_at))
    except IntegrityError:
        return False
    return True


def has_ended(session: Session, session_id: str) -> bool:
    """Whether a session was logged out."""
    return session.get(EndedSession, session_id) is not None


def _usable() -> tuple[ColumnElement[bool], ...]:
    return ApiKey.revoked_at.is_(None), ApiKey.expires_at.is_(None) | (ApiKey.expires_at > clock())
