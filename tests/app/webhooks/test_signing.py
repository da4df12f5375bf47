"""Signatures, checked by the receivers' own library and by the formula written out."""

from __future__ import annotations

import base64
import hashlib
import hmac
from datetime import UTC, datetime, timedelta

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from app.core.security import Signer
from app.webhooks import signing

SIGNER = Signer(b"p" * 32)
BODY = '{"type":"job.succeeded"}'


def made() -> str:
    secret = signing.secret_of(SIGNER, signing.new_seal(SIGNER))
    assert secret is not None
    return secret


def test_a_secret_has_32_bytes_and_is_always_the_same() -> None:
    sealed = signing.new_seal(SIGNER)
    secret = signing.secret_of(SIGNER, sealed)
    assert secret is not None
    assert secret.startswith("whsec_")
    assert len(base64.b64decode(secret.removeprefix("whsec_"))) == 32
    assert signing.secret_of(SIGNER, sealed) == secret != made()
    assert secret.removeprefix("whsec_") not in sealed


def test_another_servers_secret_opens_nothing() -> None:
    assert signing.secret_of(Signer(b"q" * 32), signing.new_seal(SIGNER)) is None


def test_the_signature_is_that_of_the_standard() -> None:
    secret, at = made(), datetime.now(UTC)
    found = signing.headers("dlv_1", at, BODY, [secret])
    text = f"dlv_1.{int(at.timestamp())}.{BODY}".encode()
    key = base64.b64decode(secret.removeprefix("whsec_"))
    expected = base64.b64encode(hmac.new(key, text, hashlib.sha256).digest()).decode()
    assert found == {
        "webhook-id": "dlv_1", "webhook-timestamp": str(int(at.timestamp())), "webhook-signature": f"v1,{expected}",
    }  # fmt: skip


def test_while_a_secret_is_replaced_both_are_accepted() -> None:
    old, new, stranger = made(), made(), made()
    found = signing.headers("dlv_1", datetime.now(UTC), BODY, [new, old])
    for secret in (old, new):
        assert Webhook(secret).verify(BODY, found) == {"type": "job.succeeded"}
    with pytest.raises(WebhookVerificationError):
        Webhook(stranger).verify(BODY, found)
    with pytest.raises(WebhookVerificationError):
        Webhook(new).verify(BODY + " ", found)


def test_an_old_message_is_refused_by_receivers() -> None:
    secret = made()
    found = signing.headers("dlv_1", datetime.now(UTC) - timedelta(minutes=6), BODY, [secret])
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(BODY, found)
