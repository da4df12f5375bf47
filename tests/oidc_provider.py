"""A small OpenID Connect provider on loopback: real HTTP, a key of its own, and knobs for what can go wrong."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from joserfc import jws
from joserfc.jwk import RSAKey

CLIENT_ID = "ddservice"
CLIENT_SECRET = "a-secret-of-the-provider"
PAGE = """<!doctype html><html lang="en"><head><title>Log in</title><link rel="icon" href="data:,"></head><body>
<form method="post" action="{action}"><button>Log in as {who}</button></form></body></html>"""


@cache
def _key(name: str) -> RSAKey:
    return RSAKey.generate_key(2048, {"kid": name, "use": "sig", "alg": "RS256"})


@dataclass
class OidcProvider:
    """The provider, and what it does to those who ask.

    Attributes:
        url: where it is, and its issuer.
        person: claims about whoever signs in.
        profile: claims that only the userinfo endpoint has.
        claims: makes other claims of an ID token out of right ones.
        sign: makes an ID token of claims.
        document: changes of its discovery document; ``None`` takes a field away.
        odd: what paths answer instead of what they should.
        broken: paths that are answered 500.
        slow: whether nothing is answered before ``released`` is set.
        released: see ``slow``.
        deny: an ``error`` to send instead of a code.
        extra: parameters that it adds to its answer, as many providers do.
        asks: whether a person has to press a button.
        asked: how often each path was asked for.
        reusable: whether a code works any number of times.
    """

    url: str
    person: dict[str, Any] = field(
        default_factory=lambda: {"sub": "ada-1", "email": "ada@example.org", "email_verified": True}
    )
    profile: dict[str, Any] = field(default_factory=dict)
    claims: Callable[[dict[str, Any]], dict[str, Any]] = lambda claims: claims
    sign: Callable[[dict[str, Any]], str] | None = None
    document: dict[str, Any] = field(default_factory=dict)
    odd: dict[str, Any] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)
    slow: bool = False
    released: threading.Event = field(default_factory=threading.Event)
    deny: str | None = None
    extra: dict[str, str] = field(default_factory=dict)
    asks: bool = False
    reusable: bool = False
    asked: Counter[str] = field(default_factory=Counter)
    key: RSAKey = field(default_factory=lambda: _key("first"))
    codes: dict[str, dict[str, str]] = field(default_factory=dict)

    def turn_key(self, name: str) -> None:
        """Sign with another key from now on, as providers do every few weeks."""
        self.key = _key(name)

    def signed(self, claims: dict[str, Any]) -> str:
        """An ID token of this provider."""
        return jws.serialize_compact({"alg": "RS256", "kid": self.key.kid}, json.dumps(claims), self.key)


class _Handler(BaseHTTPRequestHandler):
    provider: OidcProvider

    def do_GET(self) -> None:
        path, query = self._begin()
        match path:
            case "/.well-known/openid-configuration":
                self._json(self._document())
            case "/broken":
                self._json({}, 500)
            case "/jwks":
                self._json({"keys": [self.provider.key.as_dict(private=False)]})
            case "/authorize" if self.provider.asks:
                page = PAGE.format(action=self.path.replace("&", "&amp;"), who=self.provider.person["email"])
                self._send(200, page.encode(), "text/html")
            case "/authorize":
                self._authorize(query)
            case "/userinfo" if self.headers["Authorization"] == "Bearer access":
                self._json({"sub": self.provider.person["sub"], **self.provider.profile})
            case _:
                self._json({}, 404)

    def do_POST(self) -> None:
        path, query = self._begin()
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        match path:
            case "/authorize":
                self._authorize(query)
            case "/broken":
                self._json({}, 500)
            case "/token":
                self._token({name: values[-1] for name, values in parse_qs(body).items()})
            case _:
                self._json({}, 404)

    def _begin(self) -> tuple[str, dict[str, str]]:
        parts = urlsplit(self.path)
        self.provider.asked[parts.path] += 1
        if self.provider.slow:
            self.provider.released.wait()
        if parts.path in self.provider.broken:
            return "/broken", {}
        return parts.path, {name: values[-1] for name, values in parse_qs(parts.query).items()}

    def _document(self) -> dict[str, Any]:
        url = self.provider.url
        known = {
            "issuer": url,
            "authorization_endpoint": f"{url}/authorize",
            "token_endpoint": f"{url}/token",
            "jwks_uri": f"{url}/jwks",
            "userinfo_endpoint": f"{url}/userinfo",
            "id_token_signing_alg_values_supported": ["RS256", "none", "HS256"],
            "response_types_supported": ["code"],
            "code_challenge_methods_supported": ["S256"],
            **self.provider.document,
        }
        return {name: value for name, value in known.items() if value is not None}

    def _authorize(self, query: dict[str, str]) -> None:
        """What the person's browser is sent back with."""
        right = {"client_id": CLIENT_ID, "response_type": "code", "code_challenge_method": "S256"}
        if any(query.get(name) != value for name, value in right.items()) or "openid" not in query["scope"].split():
            self._json({"error": "invalid_request"}, 400)
            return
        answer = {"state": query["state"], **self.provider.extra}
        if self.provider.deny is not None:
            answer["error"] = self.provider.deny
        else:
            answer["code"] = secrets.token_urlsafe(16)
            self.provider.codes[answer["code"]] = query
        self.send_response(302)
        self.send_header("Location", f"{query['redirect_uri']}?{urlencode(answer)}")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _token(self, form: dict[str, str]) -> None:
        if not self._known_client(form):
            self._json({"error": "invalid_client"}, 401)
            return
        take = self.provider.codes.get if self.provider.reusable else self.provider.codes.pop
        query = take(form.get("code", ""), None)
        verifier = form.get("code_verifier", "")
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")
        if query is None or query["code_challenge"] != challenge or query["redirect_uri"] != form["redirect_uri"]:
            self._json({"error": "invalid_grant", "error_description": "no such code"}, 400)
            return
        moment = int(time.time())
        right = {
            "iss": self.provider.url, "aud": CLIENT_ID, "iat": moment, "exp": moment + 60, "nonce": query["nonce"],
            **self.provider.person,
        }  # fmt: skip
        sign = self.provider.sign or self.provider.signed
        answer = {"access_token": "access", "token_type": "Bearer", "expires_in": 60}
        self._json({**answer, "id_token": sign(self.provider.claims(right))})

    def _known_client(self, form: dict[str, str]) -> bool:
        """By the way that the document says alone (RFC 6749, 2.3.1)."""
        if "client_secret_post" in self.provider.document.get("token_endpoint_auth_methods_supported", ()):
            return (form.get("client_id"), form.get("client_secret")) == (CLIENT_ID, CLIENT_SECRET)
        given = self.headers.get("Authorization", "").partition("Basic ")[2]
        return base64.b64decode(given).decode() == f"{CLIENT_ID}:{CLIENT_SECRET}"

    def _json(self, document: object, status: int = 200) -> None:
        document = self.provider.odd.get(urlsplit(self.path).path, document)
        self._send(status, json.dumps(document).encode(), "application/json")

    def _send(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@contextmanager
def running_provider(host: str = "127.0.0.1") -> Iterator[OidcProvider]:
    """A provider that runs for as long as the block; for browsers, ``localhost`` is another site than the number."""
    handler = type("Handler", (_Handler,), {})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    provider = OidcProvider(f"http://{host}:{server.server_address[1]}")
    handler.provider = provider  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield provider
    finally:
        provider.released.set()
        server.shutdown()
        server.server_close()
        thread.join()
