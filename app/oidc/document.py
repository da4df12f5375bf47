"""A provider's document (OpenID Connect Discovery 1.0): what of it is used, and what is not believed."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from app.core.settings import is_loopback

DISCOVERY = "/.well-known/openid-configuration"
NEEDED = ("authorization_endpoint", "token_endpoint", "jwks_uri")
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512")
"""Signatures that are believed: by a key of the provider's own. Neither none nor one that our secret could make."""


def checked(document: object, issuer: str) -> dict[str, Any]:
    """What is used of a provider's document.

    Raises:
        ValueError: it is of another issuer, lacks an address, or names one that is not safe to ask.
    """
    if not isinstance(document, dict):
        raise ValueError("its document is no JSON object")
    if document.get("issuer") != issuer:
        raise ValueError(f"its document is of the issuer {document.get('issuer')!r}; set DD_OIDC_ISSUER to just that")
    found = {name: document[name] for name in (*NEEDED, "userinfo_endpoint") if name in document}
    for name in NEEDED:
        if name not in found:
            raise ValueError(f"its document has no `{name}`")
    for name, address in found.items():
        if not _safe(address, issuer):
            raise ValueError(f"its document says {address!r} for `{name}`, which is no https:// address")
    offered = document.get("id_token_signing_alg_values_supported") or ["RS256"]
    believed = [name for name in ALGORITHMS if name in offered]
    if not believed:
        raise ValueError(f"it signs by {offered}, of which none is believed; one of {', '.join(ALGORITHMS)} must be")
    methods = document.get("token_endpoint_auth_methods_supported") or ["client_secret_basic"]
    return {
        **found,
        "issuer": issuer,
        "id_token_signing_alg_values_supported": believed,
        "token_endpoint_auth_methods_supported": methods,
    }


def _safe(address: object, issuer: str) -> bool:
    parts = urlsplit(address) if isinstance(address, str) else None
    if parts is None or not parts.hostname:
        return False
    # The settings allow a provider without TLS on this machine alone.
    return parts.scheme == "https" or (issuer.startswith("http://") and is_loopback(parts.hostname))
