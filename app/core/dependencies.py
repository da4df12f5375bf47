"""What a route asks for: the service's parts, by a parameter or from its request."""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import Depends, Request

from app.core.database import Database
from app.core.rates import Rates
from app.core.security import Signer
from app.core.settings import Settings


def settings_of(request: Request) -> Settings:
    """The settings that the application was made with."""
    return cast(Settings, request.app.state.settings)


def database_of(request: Request) -> Database:
    """The service's database."""
    return cast(Database, request.app.state.database)


def signer_of(request: Request) -> Signer:
    """The service's signer."""
    return cast(Signer, request.app.state.signer)


def rates_of(request: Request) -> Rates:
    """How often somebody may ask."""
    return cast(Rates, request.app.state.rates)


# FastAPI would call a plain function in another thread.
async def _settings(request: Request) -> Settings:
    return settings_of(request)


async def _database(request: Request) -> Database:
    return database_of(request)


async def _signer(request: Request) -> Signer:
    return signer_of(request)


SettingsDep = Annotated[Settings, Depends(_settings)]
DatabaseDep = Annotated[Database, Depends(_database)]
SignerDep = Annotated[Signer, Depends(_signer)]
