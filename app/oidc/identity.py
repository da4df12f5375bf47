"""Who somebody is, as a provider says."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.oidc.refusals import Reason, Refused

SUBJECT = re.compile(r"[\x20-\x7e]{1,255}")
"""OpenID Connect Core 1.0, 2: at most 255 ASCII characters."""
EMAIL = re.compile(r"[^@\s]{1,64}@[^@\s]{1,189}")


@dataclass(frozen=True)
class Identity:
    """Who somebody is.

    Attributes:
        issuer: the provider that says so.
        subject: who they are there, for good.
        email: their address in lower case, or ``None`` where the provider names none.
        verified: whether the provider has checked that the address is theirs.
    """

    issuer: str
    subject: str
    email: str | None
    verified: bool

    @property
    def who(self) -> dict[str, str]:
        """The same for the audit trail."""
        return {"subject": self.subject} | ({} if self.email is None else {"email": self.email})


def read(claims: Mapping[str, Any], issuer: str) -> Identity:
    """Who the claims of a checked ID token are about.

    Raises:
        Refused: the subject is none.
    """
    subject, email = claims.get("sub"), claims.get("email")
    if not isinstance(subject, str) or SUBJECT.fullmatch(subject) is None:
        raise Refused(Reason.TOKEN, "the provider does not say who you are (`sub`); tell the operator of this service")
    known = isinstance(email, str) and email.isprintable() and EMAIL.fullmatch(email) is not None
    # Only the word of the standard counts: some providers say "true" or 1 of addresses that they never checked.
    return Identity(issuer, subject, str(email).lower() if known else None, claims.get("email_verified") is True)
