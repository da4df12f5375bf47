"""A login that somebody has begun at the provider: a cookie of their browser that lasts for minutes and is used once.

The cookie holds a random number. State, nonce and the verifier of PKCE are digests of it under the server's pepper, so
that every process of the service knows them and nobody else, the browser included.
"""

from __future__ import annotations

import hmac
import secrets
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy.orm import Session

from app.core.security import Signer
from app.keys import repository as keys
from app.oidc.identity import Identity
from app.oidc.refusals import Reason, Refused

LIFETIME_S = 600
LONGEST_PATH = 1000
"""Characters of the page to show afterwards; browsers keep cookies of 4 KB at most."""


@dataclass(frozen=True)
class Attempt:
    """A login that was begun.

    Attributes:
        id: random, 32 hexadecimal digits.
        onward: the page to show afterwards, a path of this site.
        until: seconds since 1970.
    """

    id: str
    onward: str
    until: int

    def state(self, signer: Signer) -> str:
        """What the provider sends back, so that nobody can be made to finish another one's login."""
        return signer.digest("oidc-state", self.id)

    def nonce(self, signer: Signer) -> str:
        """What the ID token has to say, so that no other one is taken for it."""
        return signer.digest("oidc-nonce", self.id)

    def verifier(self, signer: Signer) -> str:
        """What the code is worth nothing without (PKCE): 64 characters."""
        return signer.digest("oidc-verifier", self.id)


def begin(onward: str) -> Attempt:
    """A new one."""
    path = onward if len(onward) <= LONGEST_PATH else "/"
    return Attempt(secrets.token_hex(16), path, int(time.time()) + LIFETIME_S)


def seal(signer: Signer, attempt: Attempt) -> str:
    """Content of its cookie."""
    return signer.seal("oidc-attempt", vars(attempt))


def resume(signer: Signer, cookie: str | None, state: str) -> Attempt:
    """The attempt that a browser has begun, and that the provider answers.

    Raises:
        Refused: there is none, it is too old, or the answer is to another one.
    """
    payload = None if cookie is None else signer.open("oidc-attempt", cookie)
    if payload is None or payload["until"] < time.time():
        raise Refused(
            Reason.EXPIRED,
            f"this sign-in took longer than {LIFETIME_S // 60} minutes, or began in another browser; sign in again",
        )
    attempt = Attempt(**payload)
    if not hmac.compare_digest(attempt.state(signer).encode(), state.encode("utf-8", "replace")):
        raise Refused(
            Reason.STATE,
            "this answer of the provider belongs to another sign-in, such as one that was begun in another tab; sign "
            "in again",
        )
    return attempt


def use_up(session: Session, identifier: str, until: int) -> None:
    """Have an attempt, or a choice, be worth nothing from now on.

    Raises:
        Refused: it was used before.
    """
    if not keys.end_session(session, identifier, datetime.fromtimestamp(until, UTC)):
        raise Refused(Reason.USED, "this sign-in was finished already, and works once; sign in again")


@dataclass(frozen=True)
class Choice:
    """Somebody who was identified and has to say for which tenant they work.

    Attributes:
        id: random, 32 hexadecimal digits.
        identity: who they are.
        onward: the page to show afterwards.
        until: seconds since 1970.
    """

    id: str
    identity: Identity
    onward: str
    until: int


def choose(identity: Identity, onward: str) -> Choice:
    """A new one."""
    return Choice(secrets.token_hex(16), identity, onward, int(time.time()) + LIFETIME_S)


def seal_choice(signer: Signer, choice: Choice) -> str:
    """Content of its cookie."""
    return signer.seal("oidc-choice", {**vars(choice), "identity": vars(choice.identity)})


def open_choice(signer: Signer, cookie: str | None) -> Choice:
    """The choice that a browser has.

    Raises:
        Refused: there is none, or it is too old.
    """
    payload: dict[str, Any] | None = None if cookie is None else signer.open("oidc-choice", cookie)
    if payload is None or payload["until"] < time.time():
        minutes = LIFETIME_S // 60
        raise Refused(Reason.EXPIRED, f"choosing a tenant took longer than {minutes} minutes; sign in again")
    return Choice(**{**payload, "identity": Identity(**payload["identity"])})
