"""Pages of signing in at an OpenID Connect provider: there, back, and where somebody is a member of several tenants."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse
from starlette.concurrency import run_in_threadpool

from app.core.dependencies import database_of, rates_of, settings_of, signer_of
from app.core.errors import NotFound, RateLimited
from app.dashboard.rendering import HEADERS, SameOrigin, base_url, error_page, fields, local_path, render
from app.keys.principals import address
from app.keys.routes import note_refusal, start_session
from app.keys.service import DEFAULT_TENANT
from app.oidc import attempts, service
from app.oidc.attempts import Attempt, Choice
from app.oidc.identity import Identity
from app.oidc.refusals import Reason, Refused
from app.oidc.repository import Found

if TYPE_CHECKING:
    from app.oidc.provider import Provider

router = APIRouter(include_in_schema=False)

PATH = "/login/oidc"
CALLBACK = f"{PATH}/callback"
ATTEMPT_COOKIE = "dd_oidc"
CHOICE_COOKIE = "dd_oidc_choice"


@router.get(PATH)
async def begin(request: Request, next: str = "/") -> Response:
    """Go to the provider."""
    provider, signer, onward = _provider(request), signer_of(request), local_path(next)
    attempt = attempts.begin(onward)
    secrets = {
        "state": attempt.state(signer),
        "nonce": attempt.nonce(signer),
        "verifier": attempt.verifier(signer),
    }
    try:
        url = await provider.authorization_url(base_url(request) + CALLBACK, **secrets)
    except Refused as refused:
        return _refusal_page(refused, onward)
    response = RedirectResponse(url, 303, HEADERS)
    # Not of the strict kind, which the provider's answer would come without.
    response.set_cookie(
        ATTEMPT_COOKIE, attempts.seal(signer, attempt), max_age=attempts.LIFETIME_S, path=PATH, httponly=True,
        secure=request.url.scheme == "https", samesite="lax",
    )  # fmt: skip
    return response


async def finish(request: Request) -> Response:
    """Come back from the provider, who may add parameters to the address that nobody here knows."""
    provider, rates = _provider(request), rates_of(request)
    onward = "/"
    try:
        rates.signing_in(address(request))
        attempt = attempts.resume(
            signer_of(request), request.cookies.get(ATTEMPT_COOKIE), request.query_params.get("state", "")
        )
        onward = attempt.onward
        await run_in_threadpool(_use_up, request, attempt)
        identity = await _identify(request, provider, attempt)
        found = await run_in_threadpool(_members, request, identity)
        if len(found) > 1:
            return _choice_page(request, identity, onward, found)
        key_id = await run_in_threadpool(_sign_in, request, identity, found[0])
    except RateLimited as limited:
        return error_page(limited, None, "/", "Use an API key")
    except Refused as refused:
        return await run_in_threadpool(_refuse, request, refused, onward)
    return _signed_in(request, key_id, onward)


# Not a route of FastAPI's, which would refuse the parameters that a provider adds.
router.add_route(CALLBACK, finish, methods=["GET"], include_in_schema=False)


@router.post(f"{PATH}/tenant", dependencies=[SameOrigin])
async def choose(request: Request) -> Response:
    """Sign in for one of several tenants."""
    _provider(request)
    wanted = (await fields(request)).get("member", "")
    onward = "/"
    try:
        choice = attempts.open_choice(signer_of(request), request.cookies.get(CHOICE_COOKIE))
        onward = choice.onward
        key_id = await run_in_threadpool(_sign_in_as, request, choice, wanted)
    except Refused as refused:
        return await run_in_threadpool(_refuse, request, refused, onward)
    response = _signed_in(request, key_id, onward)
    response.delete_cookie(CHOICE_COOKIE, path=PATH, httponly=True, samesite="strict")
    return response


async def _identify(request: Request, provider: Provider, attempt: Attempt) -> Identity:
    """Who came back.

    Raises:
        Refused: they declined, or the provider does not say so in a way that can be trusted.
    """
    said, signer = request.query_params, signer_of(request)
    if said.get("iss", provider.issuer) != provider.issuer:
        detail = "this answer is of another provider than that of this service; sign in again"
        raise Refused(Reason.STATE, detail)
    if "error" in said:
        raise _declined(said["error"])
    if not said.get("code"):
        raise _declined("no code")
    return await provider.identify(
        base_url(request) + CALLBACK, said["code"], nonce=attempt.nonce(signer), verifier=attempt.verifier(signer)
    )


def _declined(error: str) -> Refused:
    if error == "access_denied":
        return Refused(
            Reason.DECLINED,
            "the provider let you not in here, or you did not allow it to say who you are; sign in again and allow it, "
            "or use an API key",
        )
    known = error if error.isascii() and error.isprintable() and len(error) <= 80 else "an unreadable error"
    return Refused(
        Reason.PROVIDER_REFUSED,
        f"the provider did not sign you in (`{known}`); sign in again, and if that does not help, tell the operator of "
        "this service",
        who={"error": known},
    )


def _use_up(request: Request, attempt: Attempt) -> None:
    with database_of(request).write() as session:
        attempts.use_up(session, attempt.id, attempt.until)


def _members(request: Request, identity: Identity) -> Sequence[Found]:
    with database_of(request).read() as session:
        return service.members_of(session, identity, settings_of(request).oidc_contact)


def _sign_in(request: Request, identity: Identity, chosen: Found) -> str:
    with database_of(request).write() as session:
        return service.sign_in(
            session,
            signer_of(request),
            settings_of(request),
            identity,
            chosen,
            address(request),
            request.state.request_id,
        )


def _sign_in_as(request: Request, choice: Choice, wanted: str) -> str:
    """Sign in as the member that was chosen.

    Raises:
        Refused: the choice was made before, or they are no such member.
    """
    found = next((one for one in _members(request, choice.identity) if one.member.id == wanted), None)
    if found is None:
        detail = "you can no longer sign in for this tenant; sign in again"
        raise Refused(Reason.NO_MEMBER, detail, who=choice.identity.who)
    with database_of(request).write() as session:
        attempts.use_up(session, choice.id, choice.until)
    return _sign_in(request, choice.identity, found)


def _choice_page(request: Request, identity: Identity, onward: str, found: Sequence[Found]) -> Response:
    response = render("oidc_choice.html", here="", principal=None, found=found)
    sealed = attempts.seal_choice(signer_of(request), attempts.choose(identity, onward))
    response.set_cookie(
        CHOICE_COOKIE, sealed, max_age=attempts.LIFETIME_S, path=PATH, httponly=True,
        secure=request.url.scheme == "https", samesite="strict",
    )  # fmt: skip
    _end_attempt(response)
    return response


def _signed_in(request: Request, key_id: str, onward: str) -> Response:
    response = render("oidc_done.html", here="", principal=None, onward=onward)
    start_session(response, request, signer_of(request), settings_of(request), key_id)
    _end_attempt(response)
    return response


def _refuse(request: Request, refused: Refused, onward: str) -> Response:
    for tenant in dict.fromkeys(refused.tenants or (DEFAULT_TENANT,)):
        note_refusal(request, database_of(request), tenant, by="oidc", reason=str(refused.reason), **refused.who)
    response = _refusal_page(refused, onward)
    if refused.reason is not Reason.STATE:
        # Else a link that somebody was made to follow would end the sign-in that they are about to finish.
        _end_attempt(response)
    return response


def _refusal_page(refused: Refused, onward: str) -> Response:
    return render(
        "oidc_refused.html", refused.status, here="", principal=None, detail=refused.detail, onward=onward
    )  # fmt: skip


def _end_attempt(response: Response) -> None:
    response.delete_cookie(ATTEMPT_COOKIE, path=PATH, httponly=True, samesite="lax")


def _provider(request: Request) -> Provider:
    """The provider.

    Raises:
        NotFound: the settings name none.
    """
    provider: Provider | None = request.app.state.provider
    if provider is None:
        raise NotFound("this service has no login provider (DD_OIDC_ISSUER); sign in with an API key")
    return provider
