"""Making, checking and revoking API keys; login links for the dashboard."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from app.core.database import Database, now
from app.core.errors import Forbidden, Invalid, LastAdminKey, NotFound
from app.core.security import KeyText, Principal, Role, Scope, Signer, key_id, make_key, open_session, write_secret
from app.core.settings import Settings
from app.keys import audit, repository
from app.keys.schemas import KeyRequest
from app.models.keys import ApiKey
from ddcore.spec import Problem

DEFAULT_TENANT = "default"
ANYBODY = Principal(DEFAULT_TENANT, None, frozenset(Scope))
"""The principal of every request where authentication is switched off."""
REMEMBER_S = 2.0
"""How long a key that was found is trusted without asking the database: the delay of a revocation."""
LAST_USED_EVERY_S = 60.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class _Known:
    digest: str
    principal: Principal
    until: float


class Keyring:
    """Finds the principal of a key or of a session cookie."""

    def __init__(self, database: Database, signer: Signer) -> None:
        self._database = database
        self._signer = signer
        self._known: dict[str, _Known] = {}
        self._running: dict[str, float] = {}
        """Sessions that had not been logged out, and until when that is trusted."""

    def by_key(self, text: str) -> Principal | None:
        """The principal of the API key ``text``, if it is one and still works."""
        identifier = key_id(text)
        return self._principal_of(text, self._find(identifier) if identifier else None)

    def remembered(self, text: str) -> Principal | None:
        """The same, where it was found out a moment ago; never asks the database."""
        identifier = key_id(text)
        return self._principal_of(text, self._trusted(identifier) if identifier else None)

    def knows(self, identifier: str) -> bool:
        """Whether a key of that identifier has worked, and nothing is known of its end."""
        return identifier in self._known

    def by_session(self, cookie: str) -> Principal | None:
        """The principal of a session cookie; it ends with the key that it was made for."""
        session = open_session(self._signer, cookie)
        if session is None or self._has_ended(session.id):
            return None
        known = self._find(session.key_id)
        return known.principal if known else None

    def end_session(self, cookie: str, address: str, request_id: str) -> None:
        """Have a session cookie be worth nothing; other processes follow within seconds.

        Args:
            cookie: of the session; one that is no session's, or of one that has ended, changes nothing.
            address: where that is asked from, for the trail.
            request_id: of the request that asks it.
        """
        session = open_session(self._signer, cookie)
        if session is None:
            return
        with self._database.write() as transaction:
            ended = repository.end_session(transaction, session.id, datetime.fromtimestamp(session.until, UTC))
            key = repository.known(transaction, session.key_id)
            if ended and key is not None:
                who = Principal(key.tenant_id, key.id, frozenset(), address, request_id)
                audit.record(transaction, who, "session.end", key.id)
        self._running.pop(session.id, None)

    def forget(self, identifier: str) -> None:
        """Ask the database about a key the next time it is used."""
        self._known.pop(identifier, None)

    def forget_all(self) -> None:
        """Ask the database about every key the next time it is used."""
        self._known.clear()

    def _has_ended(self, session_id: str) -> bool:
        if time.monotonic() < self._running.get(session_id, 0.0):
            return False
        with self._database.read() as session:
            ended = repository.has_ended(session, session_id)
        if ended:
            self._running.pop(session_id, None)
        else:
            self._running[session_id] = time.monotonic() + REMEMBER_S
        return ended

    def _principal_of(self, text: str, known: _Known | None) -> Principal | None:
        if known is None or not self._signer.matches("api-key", text, known.digest):
            return None
        return known.principal

    def _trusted(self, identifier: str) -> _Known | None:
        known = self._known.get(identifier)
        return known if known is not None and time.monotonic() < known.until else None

    def _find(self, identifier: str) -> _Known | None:
        known = self._trusted(identifier)
        if known is not None:
            return known
        with self._database.read() as session:
            key = repository.usable(session, identifier)
            stale = key is not None and (
                key.last_used_at is None or now(session) - key.last_used_at > timedelta(seconds=LAST_USED_EVERY_S)
            )
            if key is None:
                self.forget(identifier)
                return None
            role = repository.role(session, key)
        if stale:
            self._touch(identifier)
        scopes = frozenset(Scope(scope) for scope in key.scopes)
        if key.sign_in:
            scopes = frozenset() if role is None else role.scopes
        elif role is not None:
            scopes = role.scopes if Scope.ADMIN in scopes else scopes & role.scopes
        known = _Known(key.digest, Principal(key.tenant_id, key.id, scopes), time.monotonic() + REMEMBER_S)
        self._known[identifier] = known
        return known

    def _touch(self, identifier: str) -> None:
        try:
            with self._database.write() as session:
                repository.touch(session, identifier, LAST_USED_EVERY_S)
        except OperationalError as error:
            # Reading has to go on while something else holds the write lock for long.
            log.warning("use of a key not recorded", key=identifier, reason=str(error.orig))


def create(
    session: Session,
    signer: Signer,
    settings: Settings,
    *,
    tenant_id: str,
    name: str,
    scopes: Sequence[Scope],
    expires_at: datetime | None = None,
    member_id: str | None = None,
    sign_in: bool = False,
) -> tuple[ApiKey, KeyText]:
    """Make an API key; its text is returned here and nowhere else.

    Raises:
        Invalid: it would have expired already.
    """
    if expires_at is not None and expires_at <= now(session):
        detail = f"`expires_at` is {expires_at.isoformat()}, which is past; give a later moment, or leave it out"
        raise Invalid([Problem("/expires_at", "past", detail)])
    made = make_key(settings.environment)
    key = repository.add(
        session,
        key_id=made.id,
        tenant_id=tenant_id,
        name=name,
        digest=signer.digest("api-key", made.text),
        scopes=scopes,
        expires_at=expires_at,
        member_id=member_id,
        sign_in=sign_in,
    )
    return key, made


def issue(
    session: Session, signer: Signer, settings: Settings, principal: Principal, request: KeyRequest
) -> tuple[ApiKey, KeyText]:
    """Make a key on behalf of somebody, who can give no more than they have.

    Raises:
        Invalid: it would have expired already, is for nobody the tenant has, or could do more than its owner may.
    """
    problems = list(_beyond(session, principal, request))
    if problems:
        raise Invalid(problems)
    key, made = create(
        session,
        signer,
        settings,
        tenant_id=principal.tenant_id,
        name=request.name,
        scopes=request.scopes,
        expires_at=request.expires_at,
        member_id=request.member_id,
    )
    audit.record(session, principal, "key.create", key.id, name=key.name, scopes=key.scopes, member=key.member_id)
    return key, made


def _beyond(session: Session, principal: Principal, request: KeyRequest) -> Iterator[Problem]:
    """What a key could do that its maker or its owner may not."""
    if Scope.OPERATOR in request.scopes and not principal.may(Scope.OPERATOR):
        detail = "`scopes` has 'operator', which only a key that has it can give; leave it out"
        yield Problem("/scopes", "beyond_your_own", detail)
    if request.member_id is None:
        return
    owner = repository.member(session, principal.tenant_id, request.member_id)
    if owner is None or owner.disabled_at is not None:
        detail = f"`member_id` is {request.member_id}, but you have no such member who is not disabled"
        yield Problem("/member_id", "no_such_member", detail)
        return
    held = Role(owner.role).scopes
    more = sorted(set(request.scopes) - held)
    if more:
        detail = (
            f"`scopes` has {', '.join(more)}, but {owner.email} is a {owner.role}, whose keys can have "
            f"{', '.join(sorted(held))}; leave the others out, or change the role"
        )
        yield Problem("/scopes", "beyond_the_role", detail)


def rotate(
    session: Session, signer: Signer, settings: Settings, principal: Principal, identifier: str, grace_s: float
) -> tuple[ApiKey, KeyText]:
    """Make a key that can do what another one can, which ends after a while.

    Raises:
        NotFound: the tenant has no such working key.
        Forbidden: it could do more than its maker may, or it only stands for sessions.
    """
    old = repository.own(session, principal, identifier)
    if old is None:
        raise NotFound(f"you have no working API key {identifier}")
    if old.sign_in:
        raise Forbidden(
            f"{identifier} stands for the sessions that a member began at the provider, and nobody has its text; "
            "revoke it to end them, or make a key"
        )
    if Scope.OPERATOR in old.scopes and not principal.may(Scope.OPERATOR):
        raise Forbidden(f"{identifier} has the scope 'operator'; rotate it with a key that has it too")
    key, made = create(
        session,
        signer,
        settings,
        tenant_id=principal.tenant_id,
        name=old.name,
        scopes=[Scope(scope) for scope in old.scopes],
        expires_at=old.expires_at,
        member_id=old.member_id,
    )
    repository.expire(session, old, grace_s)
    audit.record(session, principal, "key.rotate", old.id, by=key.id, grace_s=grace_s)
    return key, made


def revoke(session: Session, principal: Principal, identifier: str) -> None:
    """Make one of the tenant's keys useless.

    Raises:
        NotFound: the tenant has no such working key.
        LastAdminKey: no other key of the tenant could make keys.
    """
    repository.tenant(session, principal, lock=True)
    admins = repository.working_admins(session, principal)
    if admins == {identifier}:
        raise LastAdminKey(
            f"{identifier} is the last working key with the scope `admin`; make another first (`ddctl keys create NAME "
            "--scope admin`), or nobody could make keys any more"
        )
    if not repository.revoke(session, principal, identifier):
        raise NotFound(f"you have no working API key {identifier}")
    audit.record(session, principal, "key.revoke", identifier)


def make_login_token(session: Session, signer: Signer, settings: Settings, principal: Principal) -> str:
    """A token that starts one dashboard session on behalf of the principal's key.

    Raises:
        Forbidden: a session asks that began at a provider: each link would lengthen it, whatever the provider says.
    """
    if principal.key_id is None:
        raise ValueError("there are no sessions where authentication is switched off")
    key = repository.known(session, principal.key_id)
    if key is not None and key.sign_in:
        raise Forbidden("a session that began at the provider makes no login links; sign in there again")
    token = secrets.token_urlsafe(32)
    digest = signer.digest("login", token)
    repository.add_login(session, digest=digest, key_id=principal.key_id, lifetime_s=settings.login_link_s)
    audit.record(session, principal, "login_link.create", principal.key_id)
    return token


def use_login_token(session: Session, signer: Signer, token: str, address: str) -> str | None:
    """Use a login token up; identifier of the key it stands for, or ``None`` where it does not (any more)."""
    identifier = repository.take_login(session, signer.digest("login", token))
    key = None if identifier is None else repository.usable(session, identifier)
    if key is None:
        return None
    note_login(session, Principal(key.tenant_id, key.id, frozenset(), address), by="link")
    return key.id


def note_login(session: Session, principal: Principal, **details: Any) -> None:
    """Note that somebody began to use the dashboard on behalf of a key.

    Args:
        session: the transaction that the login is part of.
        principal: who they are.
        **details: ``by`` what they did: ``key``, ``link`` or ``oidc``, and more about it.
    """
    audit.record(session, principal, "session.start", principal.key_id, **details)


def note_refusal(session: Session, tenant_id: str, address: str, request_id: str, **details: Any) -> None:
    """Note that somebody was not let in to the dashboard.

    Args:
        session: the transaction to write it in.
        tenant_id: whose trail tells it: that of the key or member that was named, else of the operators.
        address: where it was tried from.
        request_id: of the request that tried it.
        **details: ``by`` what they tried, the ``reason``, and who they said to be; nothing secret.
    """
    audit.record(session, Principal(tenant_id, None, frozenset(), address, request_id), "session.refuse", **details)


def claimed(session: Session, text: str) -> ApiKey | None:
    """The key that ``text`` claims to be, which proves nothing about who sent it."""
    identifier = key_id(text)
    return None if identifier is None else repository.known(session, identifier)


def bootstrap(database: Database, signer: Signer, settings: Settings) -> None:
    """Make sure that there is a tenant, and a key with which the service can be used at all.

    The key is left in ``$DD_HOME/api-key`` for the clients of this machine. An embedded service makes a
    new one whenever that file is missing or its key no longer works; any other only while no key exists.
    """
    path = settings.api_key_file
    with database.write() as session:
        repository.ensure_tenant(session, DEFAULT_TENANT, "Default")
        if not settings.auth or _has_key(session, signer, settings):
            return
        path.unlink(missing_ok=True)
        _, made = create(
            session,
            signer,
            settings,
            tenant_id=DEFAULT_TENANT,
            name="made at the first start",
            scopes=[Scope.ADMIN, Scope.OPERATOR],
        )
        write_secret(path, made.text)
    log.info("made an API key", file=str(path), key=made.id)


def _has_key(session: Session, signer: Signer, settings: Settings) -> bool:
    if not settings.embedded:
        return repository.any_key(session)
    if not settings.api_key_file.exists():
        return False
    text = settings.api_key_file.read_text("ascii", errors="replace").strip()
    identifier = key_id(text)
    key = repository.usable(session, identifier) if identifier else None
    return key is not None and signer.matches("api-key", text, key.digest)
