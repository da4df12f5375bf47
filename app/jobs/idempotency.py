"""Answers remembered under an Idempotency-Key, so that a repeated submission is not a second job."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

from sqlalchemy import Select, delete, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.core.errors import Gone, IdempotencyMismatch
from app.core.security import Principal
from app.core.tables import clock
from app.core.versioned import Versioned
from app.models.jobs import IdempotencyKey


@dataclass(frozen=True)
class Answer:
    """What the first request was answered with."""

    location: str
    body: bytes


def remembered(document: Versioned) -> Answer:
    """What a request that made a job or a study is answered with, as it is remembered."""
    return Answer(document.links["self"], document.model_dump_json().encode())


def identifier(made: Versioned | Answer) -> str:
    """Of what was made, now or by the first request."""
    return made.location.rpartition("/")[2] if isinstance(made, Answer) else made.id


def request_digest(operation: str, body: object) -> str:
    """What makes two requests the same: the operation, and the body whatever its spacing and order."""
    return hashlib.sha256(f"{operation}\0{json.dumps(body, sort_keys=True)}".encode()).hexdigest()


def find(session: Session, principal: Principal, key: str, digest: str) -> Answer | None:
    """The answer that ``key`` already has; a session that only reads will do.

    Raises:
        IdempotencyMismatch: the key belongs to another request.
        Gone: what that request made was deleted.
    """
    entry = session.execute(_of(principal, key).where(IdempotencyKey.expires_at >= clock())).scalar_one_or_none()
    return None if entry is None else _answer(entry, key, digest)


def begin(session: Session, principal: Principal, key: str, digest: str, lifetime_s: float) -> Answer | None:
    """Take ``key`` for the session's transaction, or find the answer it already has.

    A concurrent request with the same key waits here until the other transaction ends.

    Raises:
        IdempotencyMismatch: the key belongs to another request.
        Gone: what that request made was deleted.
    """
    session.execute(
        delete(IdempotencyKey).where(
            IdempotencyKey.tenant_id == principal.tenant_id, IdempotencyKey.expires_at < clock()
        )
    )
    entry = IdempotencyKey(
        tenant_id=principal.tenant_id,
        key=key,
        request_sha256=digest,
        location="",
        body=b"",
        expires_at=clock(lifetime_s),
    )
    try:
        with session.begin_nested():
            session.add(entry)
    except IntegrityError:
        first = _load(session, principal, key)
    else:
        return None
    return _answer(first, key, digest)


def finish(session: Session, principal: Principal, key: str, answer: Answer) -> None:
    """Remember the answer, in the transaction that makes it true."""
    entry = _load(session, principal, key)
    entry.location = answer.location
    entry.body = answer.body
    session.flush()


def forget(session: Session, principal: Principal, location: str) -> None:
    """What was made at ``location`` is deleted: a repetition of the request that made it is told so."""
    session.execute(
        update(IdempotencyKey)
        .where(IdempotencyKey.tenant_id == principal.tenant_id, IdempotencyKey.location == location)
        .values(body=b"")
        .execution_options(synchronize_session=False)
    )


def _load(session: Session, principal: Principal, key: str) -> IdempotencyKey:
    return session.execute(_of(principal, key)).scalar_one()


def _of(principal: Principal, key: str) -> Select[IdempotencyKey]:
    return select(IdempotencyKey).where(IdempotencyKey.tenant_id == principal.tenant_id, IdempotencyKey.key == key)


def _answer(entry: IdempotencyKey, key: str, digest: str) -> Answer:
    if entry.request_sha256 != digest:
        raise IdempotencyMismatch(
            f"the Idempotency-Key {key!r} was used for another request; use a new key for a new job"
        )
    if not entry.body:
        raise Gone(
            f"the request with the Idempotency-Key {key!r} made {entry.location}, which was deleted since; "
            "use a new key for a new one"
        )
    return Answer(entry.location, entry.body)
