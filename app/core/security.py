"""API keys, signatures and the tenant that a request acts for. No database here, and no HTTP."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import re
import secrets
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from app.core.settings import Settings

_KEY = re.compile(
    r"^dd_(?P<environment>[a-z0-9]{1,16})_(?P<id>[0-9a-z]{8})_(?P<secret>[\w-]{43})_(?P<crc>[0-9a-f]{8})$"
)
_LETTERS = "0123456789abcdefghijklmnopqrstuvwxyz"


class Scope(StrEnum):
    """What an API key may be used for; ``admin`` includes all of its tenant, ``operator`` the tenants themselves."""

    JOBS_READ = "jobs:read"
    JOBS_WRITE = "jobs:write"
    ARTIFACTS_READ = "artifacts:read"
    ADMIN = "admin"
    OPERATOR = "operator"


class Role(StrEnum):
    """What a member may do for a tenant."""

    VIEWER = "viewer"
    MEMBER = "member"
    ADMIN = "admin"

    @property
    def scopes(self) -> frozenset[Scope]:
        """The scopes that their keys can have."""
        read = {Scope.JOBS_READ, Scope.ARTIFACTS_READ}
        more = {Role.VIEWER: set[Scope](), Role.MEMBER: {Scope.JOBS_WRITE}, Role.ADMIN: {Scope.JOBS_WRITE, Scope.ADMIN}}
        return frozenset(read | more[self])


@dataclass(frozen=True)
class Principal:
    """The tenant that a request acts for, with its rights. Every query about a tenant's things starts from one."""

    tenant_id: str
    key_id: str | None
    """``None`` where authentication is switched off."""
    scopes: frozenset[Scope]
    address: str | None = field(default=None, compare=False)
    """Where the request comes from."""
    request_id: str | None = field(default=None, compare=False)

    def may(self, scope: Scope) -> bool:
        """Whether ``scope`` is granted."""
        return scope in self.scopes or (Scope.ADMIN in self.scopes and scope is not Scope.OPERATOR)


@dataclass(frozen=True)
class KeyText:
    """A newly made API key: the only moment at which its text exists on the server."""

    id: str
    text: str


def make_key(environment: str) -> KeyText:
    """A random key ``dd_<environment>_<id>_<256-bit secret>_<CRC-32>``.

    The checksum lets a leaked or mistyped key be recognised without asking the database.
    """
    number = "".join(secrets.choice(_LETTERS) for _ in range(8))
    body = f"dd_{environment}_{number}_{secrets.token_urlsafe(32)}"
    return KeyText(f"key_{number}", f"{body}_{zlib.crc32(body.encode()):08x}")


def key_id(text: str) -> str | None:
    """Identifier of the key that ``text`` claims to be, or ``None`` where it cannot be a key."""
    match = _KEY.fullmatch(text)
    if match is None or f"{zlib.crc32(text[: match.start('crc') - 1].encode()):08x}" != match["crc"]:
        return None
    return f"key_{match['id']}"


class Signer:
    """Everything that the server's secret (its pepper) is good for.

    ``purpose`` keeps signatures apart: one made for a cookie is worthless as a cursor.
    """

    def __init__(self, pepper: bytes) -> None:
        if len(pepper) < 32:
            raise ValueError(f"the pepper has {len(pepper)} bytes; it needs at least 32 (DD_PEPPER)")
        self._pepper = pepper

    def digest(self, purpose: str, text: str) -> str:
        """Keyed digest (HMAC-SHA256) of ``text``, hexadecimal."""
        return hmac.new(self._pepper, f"{purpose}\0{text}".encode(), hashlib.sha256).hexdigest()

    def matches(self, purpose: str, text: str, digest: str) -> bool:
        """Whether ``digest`` belongs to ``text``, in a time that does not tell where they differ."""
        return hmac.compare_digest(self.digest(purpose, text), digest)

    def seal(self, purpose: str, payload: Mapping[str, Any]) -> str:
        """A string that carries ``payload`` and cannot be changed, nor made, by others."""
        body = base64.urlsafe_b64encode(json.dumps(payload, separators=(",", ":")).encode()).decode().rstrip("=")
        return f"{body}.{self.digest(purpose, body)}"

    def open(self, purpose: str, sealed: str) -> dict[str, Any] | None:
        """The payload of a sealed string, or ``None`` where it was not made here for ``purpose``."""
        body, _, digest = sealed.partition(".")
        if not body.isascii() or not digest.isascii() or not self.matches(purpose, body, digest):
            return None
        payload = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        return payload if isinstance(payload, dict) else None


@dataclass(frozen=True)
class BrowserSession:
    """What a session cookie says: the API key that it stands for, and until when."""

    id: str
    key_id: str
    until: int
    """Seconds since 1970."""


def seal_session(signer: Signer, key: str, lifetime_s: int) -> str:
    """Content of a session cookie that stands for the API key with the identifier ``key``."""
    return signer.seal("session", {"id": secrets.token_hex(16), "key": key, "until": int(time.time()) + lifetime_s})


def open_session(signer: Signer, cookie: str) -> BrowserSession | None:
    """What a session cookie says, or ``None`` where it is no cookie of ours, is of an earlier version, or too old."""
    payload = signer.open("session", cookie)
    if payload is None or "id" not in payload or payload["until"] < time.time():
        return None
    return BrowserSession(payload["id"], payload["key"], payload["until"])


def load_signer(settings: Settings) -> Signer:
    """The signer of this service: from the settings, or from a file that the first start makes."""
    if settings.pepper is not None:
        return Signer(settings.pepper.get_secret_value().encode())
    path = settings.home / "pepper"
    if not path.exists():
        write_secret(path, secrets.token_hex(32))
    return Signer(path.read_text("ascii").strip().encode())


def write_secret(path: Path, text: str) -> None:
    """Write a file that only its owner can read; one that exists is left alone (another process was first)."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}-{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text + "\n")
        # A hard link fails where the name exists, so two first starts agree on one secret.
        path.hardlink_to(temporary)
    except FileExistsError:
        return
    finally:
        temporary.unlink()
