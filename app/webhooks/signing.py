"""Signatures of messages, by the rules of Standard Webhooks 1.0.

A secret is derived from the server's own secret and a random salt. The database holds the salt, sealed: a reader of
the database learns no secret of a receiver's, and a process that has another ``DD_PEPPER`` than the API notices.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Iterable
from datetime import datetime

from standardwebhooks import Webhook as Scheme

from app.core.security import Signer

PREFIX = "whsec_"
_PURPOSE = "webhook"


def new_seal(signer: Signer) -> str:
    """What a new secret is made from, fit to be stored."""
    return signer.seal(_PURPOSE, {"salt": secrets.token_hex(16)})


def secret_of(signer: Signer, sealed: str) -> str | None:
    """The secret, ``whsec_`` and 32 bytes in base64; ``None`` where another server's secret sealed it."""
    payload = signer.open(_PURPOSE, sealed)
    if payload is None:
        return None
    return PREFIX + base64.b64encode(bytes.fromhex(signer.digest(_PURPOSE, payload["salt"]))).decode()


def headers(message_id: str, at: datetime, body: str, keys: Iterable[str]) -> dict[str, str]:
    """The headers by which a receiver knows that a message is ours and new.

    Args:
        message_id: the same at every attempt.
        at: when this attempt begins; receivers refuse what is more than five minutes old.
        body: the message.
        keys: the secret; for a while after a rotation, the last one too.
    """
    signatures = " ".join(Scheme(key).sign(message_id, at, body) for key in keys)
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": signatures,
    }
