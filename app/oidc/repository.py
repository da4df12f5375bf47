"""SQL on members who sign in at a provider."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import and_, or_, select, update
from sqlalchemy.orm import Session

from app.models.keys import Member, Tenant
from app.oidc.identity import Identity


@dataclass(frozen=True)
class Found:
    """A member who may be the person that signs in.

    Attributes:
        member: who.
        tenant_name: what people call their tenant.
        linked: whether they signed in as this person before.
        of_another: whether their address belongs to another account of the provider.
        works: whether neither they nor their tenant are disabled.
    """

    member: Member
    tenant_name: str
    linked: bool
    of_another: bool
    works: bool


def members(session: Session, identity: Identity) -> Sequence[Found]:
    """Members of all tenants who are linked to the person, or have their checked address; by tenant."""
    linked = and_(Member.oidc_issuer == identity.issuer, Member.oidc_subject == identity.subject)
    same = Member.email == identity.email if identity.email is not None and identity.verified else None
    rows = session.execute(
        select(Member, Tenant)
        .join(Tenant, Tenant.id == Member.tenant_id)
        .where(linked if same is None else or_(linked, same))
        .order_by(Tenant.name, Tenant.id, Member.id)
    )
    return [_found(member, tenant, identity) for member, tenant in rows]


def link(session: Session, member: Member, identity: Identity) -> None:
    """Have a member be this person from now on, whatever their address becomes."""
    values = {"oidc_issuer": identity.issuer, "oidc_subject": identity.subject}
    session.execute(
        update(Member).where(Member.id == member.id).values(**values).execution_options(synchronize_session=False)
    )


def _found(member: Member, tenant: Tenant, identity: Identity) -> Found:
    of_provider = member.oidc_issuer == identity.issuer
    linked = of_provider and member.oidc_subject == identity.subject
    works = member.disabled_at is None and tenant.disabled_at is None
    return Found(member, tenant.name, linked, of_provider and not linked, works)
