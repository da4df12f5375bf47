"""What a route asks for: the service's parts."""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import Depends, Request

from app.core.database import Database
from app.core.security import Signer
from app.core.settings import Settings


async def get_settings(request: Request) -> Settings:
    """The settings that the application was made with."""
    return cast(Settings, request.app.state.settings)


async def get_database(request: Request) -> Database:
    """The service's database."""
    return cast(Database, request.app.state.database)


async def get_signer(request: Request) -> Signer:
    """The service's signer."""
    return cast(Signer, request.app.state.signer)


SettingsDep = Annotated[Settings, Depends(get_settings)]
DatabaseDep = Annotated[Database, Depends(get_database)]
SignerDep = Annotated[Signer, Depends(get_signer)]
