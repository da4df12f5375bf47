"""Which member somebody is who signed in at the provider. Nothing here commits, and nothing here knows HTTP."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy.orm import Session

from app.core.security import Principal, Signer
from app.core.settings import Settings
from app.keys import repository as keys
from app.keys import service as keyring
from app.oidc import repository
from app.oidc.identity import Identity
from app.oidc.refusals import Reason, Refused
from app.oidc.repository import Found


def members_of(session: Session, identity: Identity, contact: str | None) -> Sequence[Found]:
    """The members that somebody can sign in as: one of each tenant.

    Somebody who signed in before is known by what the provider calls them. Else a checked address decides; one that
    belongs to another account of the same provider does not, since addresses are given to new people.

    Args:
        session: of the database.
        identity: who they are.
        contact: where they ask for help; ``None`` for the admin of a tenant.

    Raises:
        Refused: there is none.
    """
    found = repository.members(session, identity)
    known = {one.member.tenant_id for one in found if one.linked}
    theirs = [one for one in found if one.linked or (not one.of_another and one.member.tenant_id not in known)]
    working = [one for one in theirs if one.works]
    if working:
        return working
    raise _nobody(identity, theirs, [one for one in found if one.of_another], contact or "an admin of your tenant")


def sign_in(
    session: Session,
    signer: Signer,
    settings: Settings,
    identity: Identity,
    chosen: Found,
    address: str,
    request_id: str,
) -> str:
    """Begin a session as one of the members that somebody is; identifier of the key that it stands for.

    Raises:
        Refused: they are that member no longer.
    """
    tenant_id = chosen.member.tenant_id
    who = Principal(tenant_id, None, frozenset(), address, request_id)
    keys.tenant(session, who, lock=True)  # Of two first sessions at once, the second finds the key of the first.
    # Once more, now that nobody changes them.
    again = [one.member for one in members_of(session, identity, settings.oidc_contact)]
    member = next((one for one in again if one.id == chosen.member.id), None)
    if member is None:
        raise _disabled(identity, [tenant_id], settings.oidc_contact or "an admin of your tenant")
    repository.link(session, member, identity)
    key = keys.sign_in_key(session, member.id)
    if key is None:
        name = f"sessions by {settings.oidc_name}"
        key, _ = keyring.create(
            session, signer, settings, tenant_id=tenant_id, name=name, scopes=(), member_id=member.id, sign_in=True
        )
    acting = Principal(tenant_id, key.id, frozenset(), address, request_id)
    keyring.note_login(session, acting, by="oidc", member=member.id, **identity.who)
    return key.id


def _nobody(identity: Identity, disabled: Sequence[Found], of_another: Sequence[Found], contact: str) -> Refused:
    if disabled:
        return _disabled(identity, [one.member.tenant_id for one in disabled], contact)
    if of_another:
        return Refused(
            Reason.LINKED_ELSEWHERE,
            f"the member with the address {identity.email} signed in with another account of the provider before; ask "
            f"{contact} to unlink it (`ddctl members set ID --unlink`, or the page Team) if that account is yours too",
            tenants=[one.member.tenant_id for one in of_another],
            who=identity.who,
        )
    if identity.email is None:
        return Refused(
            Reason.NO_EMAIL,
            "the provider did not say your e-mail address, by which members are known; allow it to, or ask the "
            "operator of this service to ask for it (DD_OIDC_SCOPES)",
            who=identity.who,
        )
    if not identity.verified:
        return Refused(
            Reason.EMAIL_UNVERIFIED,
            f"the provider has not checked that {identity.email} is your address (`email_verified`); have it checked "
            "there, then sign in again",
            who=identity.who,
        )
    return Refused(
        Reason.NO_MEMBER,
        f"no tenant here has a member with the address {identity.email}; ask {contact} to add it (the page Team, or "
        "`ddctl members add`), then sign in again",
        who=identity.who,
    )


def _disabled(identity: Identity, tenants: Sequence[str], contact: str) -> Refused:
    detail = f"you are a member who is disabled, or whose tenant is; ask {contact} to enable you again"
    return Refused(Reason.DISABLED, detail, tenants=tenants, who=identity.who)
