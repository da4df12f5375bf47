"""What is asked of an OpenID Connect provider: its document, its keys, a token for a code, and who that is about.

Every question has a limit of time and waits without holding up the event loop. Authlib speaks the protocol and checks
the ID token; here are what of the provider's document is believed, what is remembered, and what is said of failures.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx2
import structlog
from authlib.integrations.base_client import OAuthError
from authlib.integrations.starlette_client import StarletteOAuth2App
from joserfc.errors import JoseError

from app.core.settings import Settings
from app.oidc import refusals
from app.oidc.document import DISCOVERY, checked
from app.oidc.identity import Identity, read
from app.oidc.refusals import Refused

METADATA_S = 3600.0
"""How long the provider's document and keys are remembered; a key that is not among them is asked for at once."""
REST_S = 5.0
"""How long a provider that gave no usable answer is left alone."""
LEEWAY_S = 60
"""How far its clock may be from ours."""

MISSHAPEN = (ValueError, LookupError, TypeError, AttributeError)
"""What the library ends in where an answer is JSON of another shape, or no JSON."""

log = structlog.get_logger(__name__)


class Provider:
    """The provider that the settings name.

    Args:
        settings: what the provider calls this service, and how long it has for an answer.
        issuer: its address.
    """

    def __init__(self, settings: Settings, issuer: str) -> None:
        self.issuer = issuer
        self._settings = settings
        # Made once: a client that makes its own reads all certificates, which holds up the event loop for 30 ms.
        self._tls = httpx2.create_ssl_context()
        self._known: StarletteOAuth2App | None = None
        self._until = 0.0
        self._rests_until = 0.0
        self._asking = asyncio.Lock()

    async def authorization_url(self, redirect_uri: str, *, state: str, nonce: str, verifier: str) -> str:
        """Where a browser goes to sign in.

        Args:
            redirect_uri: where it comes back to.
            state: what it brings back.
            nonce: what the ID token has to say.
            verifier: of PKCE, 43 to 128 characters; its digest goes along.

        Raises:
            Refused: the provider cannot be used at the moment.
        """
        client = await self._client()
        with self._answering():
            made = await client.create_authorization_url(redirect_uri, state=state, nonce=nonce, code_verifier=verifier)
        return str(made["url"])

    async def identify(self, redirect_uri: str, code: str, *, nonce: str, verifier: str) -> Identity:
        """Who signed in, for a code that a browser brought back.

        Args:
            redirect_uri: where it was brought back to.
            code: that the provider gave.
            nonce: what the ID token has to say.
            verifier: of PKCE.

        Raises:
            Refused: the provider cannot be used, does not accept the code, or its token is not what it must be.
        """
        client = await self._client()
        with self._answering():
            async with self._in_time():
                token = await client.fetch_access_token(redirect_uri, code=code, code_verifier=verifier)
                claims = await self._claims(client, token, nonce)
        return read(claims, self.issuer)

    async def _claims(self, client: StarletteOAuth2App, token: Mapping[str, Any], nonce: str) -> Mapping[str, Any]:
        """What a checked ID token says, with the address of the person where only their profile has it."""
        options = {
            "iss": {"essential": True, "value": self.issuer},
            "aud": {"essential": True, "value": client.client_id},
        }
        try:
            claims = await client.parse_id_token(token, nonce, claims_options=options, leeway=LEEWAY_S)
        except (JoseError, *MISSHAPEN) as error:
            log.error("unusable ID token", issuer=self.issuer, reason=repr(error))
            raise refusals.unusable() from error
        if claims is None:
            log.error("unusable ID token", issuer=self.issuer, reason="the answer to the code has no `id_token`")
            raise refusals.unusable()
        if {"email", "email_verified"} <= claims.keys() or "userinfo_endpoint" not in client.server_metadata:
            return dict(claims)
        profile = await client.userinfo(token=token)
        if profile.get("sub") != claims["sub"]:
            log.error("unusable profile", issuer=self.issuer, reason="its `sub` is not that of the ID token")
            raise refusals.unusable()
        if "email" not in profile:
            return dict(claims)
        # Both from one place: the word that an address was checked counts for that address alone.
        return {**claims, "email": profile["email"], "email_verified": profile.get("email_verified")}

    async def _client(self) -> StarletteOAuth2App:
        """What speaks with the provider, once its document is known.

        Raises:
            Refused: it is not, and the provider does not send it.
        """
        async with self._asking:
            if self._known is None or time.monotonic() >= self._until:
                self._known = await self._renewed(self._known)
            return self._known

    async def _renewed(self, known: StarletteOAuth2App | None) -> StarletteOAuth2App:
        """What a new document makes of what was known, which is good until something is known better."""
        if time.monotonic() < self._rests_until:
            if known is None:
                raise refusals.down(self.issuer)
            return known
        try:
            with self._answering():
                async with self._in_time():
                    fresh = self._read(await self._document())
        except Refused:
            self._rests_until = time.monotonic() + REST_S
            if known is None:
                raise
            return known
        self._until = time.monotonic() + METADATA_S
        return fresh

    async def _document(self) -> object:
        async with httpx2.AsyncClient(verify=self._tls, timeout=self._settings.oidc_timeout_s) as client:
            answer = await client.get(self.issuer.rstrip("/") + DISCOVERY)
        return answer.raise_for_status().json()

    def _read(self, document: object) -> StarletteOAuth2App:
        """What speaks with a provider of this document.

        Raises:
            ValueError: saying what is wrong with the document.
        """
        settings = self._settings
        metadata = checked(document, self.issuer)
        secret = settings.oidc_client_secret
        methods = metadata.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
        by_form = "client_secret_basic" not in methods and "client_secret_post" in methods
        how = {"token_endpoint_auth_method": "client_secret_post"} if secret is not None and by_form else {}
        return StarletteOAuth2App(
            None,
            client_id=settings.oidc_client_id,
            client_secret=None if secret is None else secret.get_secret_value(),
            client_kwargs={
                "scope": settings.oidc_scopes,
                "code_challenge_method": "S256",
                "timeout": settings.oidc_timeout_s,
                "verify": self._tls,
                # A token is used at once or never, also one of a provider whose tokens live for a minute.
                "leeway": 0,
                **how,
            },
            **metadata,
        )

    def _in_time(self) -> asyncio.Timeout:
        # The library's own limit is of each piece of an answer, of which there can be many.
        return asyncio.timeout(2 * self._settings.oidc_timeout_s)

    @contextmanager
    def _answering(self) -> Iterator[None]:
        """Say of everything that a provider can do wrong what somebody who signs in can do about it."""
        try:
            yield
        except OAuthError as error:
            log.warning("the provider refused", issuer=self.issuer, error=error.error, reason=error.description)
            raise refusals.not_accepted(error.error) from error
        except (httpx2.HTTPError, httpx2.InvalidURL, TimeoutError, *MISSHAPEN) as error:
            log.error("the provider gave no usable answer", issuer=self.issuer, reason=repr(error))
            raise refusals.down(self.issuer) from error
