"""Whose jobs a page shows."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends

from app.core.dependencies import DatabaseDep, SettingsDep
from app.jobs.transactions import JobTransactions
from app.keys.principals import OptionalPrincipal


async def page_jobs(
    principal: OptionalPrincipal, database: DatabaseDep, settings: SettingsDep
) -> JobTransactions | None:
    """The jobs that a page may show; ``None`` where nobody is logged in."""
    return None if principal is None else JobTransactions(principal, database, settings)


PageJobs = Annotated[JobTransactions | None, Depends(page_jobs)]
