"""The provider that the settings name; its library is loaded only where there is one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.core.settings import Settings

if TYPE_CHECKING:
    from app.oidc.provider import Provider


def open_provider(settings: Settings) -> Provider | None:
    """The provider; nothing is asked of it yet, so that the service starts while it is away.

    Raises:
        ValueError: there is one, and what talks to it is not installed.
    """
    if settings.oidc_issuer is None:
        return None
    try:
        from app.oidc.provider import Provider
    except ImportError as error:
        raise ValueError(
            f"DD_OIDC_ISSUER is set, but {error.name} is not installed: pip install 'ddservice[oidc]', or leave "
            "DD_OIDC_ISSUER out"
        ) from error
    return Provider(settings, settings.oidc_issuer)
