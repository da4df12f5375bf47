"""Why somebody was not signed in: one code for each reason, and the words that they read."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from urllib.parse import urlsplit


class Reason(StrEnum):
    """What the audit trail and the log call it."""

    PROVIDER_DOWN = "provider_down"
    PROVIDER_REFUSED = "provider_refused"
    DECLINED = "declined"
    EXPIRED = "expired"
    STATE = "state"
    USED = "used"
    CODE = "code"
    TOKEN = "token"  # noqa: S105 - a reason, no password
    NO_EMAIL = "no_email"
    EMAIL_UNVERIFIED = "email_unverified"
    NO_MEMBER = "no_member"
    DISABLED = "disabled"
    LINKED_ELSEWHERE = "linked_elsewhere"


STATUS = {
    Reason.PROVIDER_DOWN: 503,
    Reason.PROVIDER_REFUSED: 502,
    Reason.TOKEN: 502,
    Reason.EXPIRED: 400,
    Reason.STATE: 400,
    Reason.USED: 400,
    Reason.CODE: 400,
}
"""Status of the page; of all others, 403."""


class Refused(Exception):  # noqa: N818 - nobody has made a mistake
    """Somebody was not signed in.

    Attributes:
        reason: for the trail and the log.
        detail: for them: what happened, and a way out.
        tenants: whose trails tell of it, where it is known whose member they are.
        who: what the provider said about them, for the trail.
    """

    def __init__(
        self, reason: Reason, detail: str, *, tenants: Sequence[str] = (), who: dict[str, str] | None = None
    ) -> None:
        self.reason = reason
        self.detail = detail
        self.tenants = tuple(tenants)
        self.who = who or {}
        super().__init__(f"{reason}: {detail}")

    @property
    def status(self) -> int:
        """Status of the page that says so."""
        return STATUS.get(self.reason, 403)


def down(issuer: str) -> Refused:
    """The provider does not answer, or not as a provider does."""
    return Refused(
        Reason.PROVIDER_DOWN,
        f"the login provider, {urlsplit(issuer).netloc}, gives no usable answer at the moment; try again in a minute, "
        "or sign in with an API key",
    )


def not_accepted(error: str) -> Refused:
    """The provider answered the code by an error of OAuth 2.0 (RFC 6749, 5.2)."""
    if error == "invalid_grant":
        detail = (
            "the provider did not accept the code of this sign-in, which is too old or was used already; sign in again"
        )
        return Refused(Reason.CODE, detail)
    return Refused(
        Reason.PROVIDER_REFUSED,
        "the provider refused to say who you are; tell the operator of this service, whose log has the reason, or sign "
        "in with an API key",
    )


def unusable() -> Refused:
    """The provider's token, or what it says about its owner, is not what it must be."""
    return Refused(
        Reason.TOKEN,
        "what the provider said about you cannot be trusted, so you are not signed in; sign in again, and if that does "
        "not help, tell the operator of this service, whose log has the reason",
    )
