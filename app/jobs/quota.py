"""What a tenant may have unfinished: jobs, and the work that is in them; and what it may use in a month."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from app.core.database import now
from app.core.errors import QuotaExceeded
from app.core.security import Principal
from app.core.settings import Settings
from app.keys import repository as keys
from app.models.keys import Tenant
from app.queue import usage

WAIT_S = 30
"""Seconds after which it is worth asking again: jobs end all the time."""


@dataclass(frozen=True)
class Asked:
    """What somebody wants queued.

    Attributes:
        expected_s: seconds that workers should need for it, at least 0.
        jobs: how many there are in it.
        what: ``job`` or ``study``.
        why: what the seconds rest on where nothing could be estimated, in brackets; empty where they are estimated.
        smaller: how it could be made smaller, in words.
    """

    expected_s: float
    jobs: int = 1
    what: str = "job"
    why: str = ""
    smaller: Sequence[str] = ("make it smaller",)


@dataclass(frozen=True)
class Work:
    """The work that a tenant has unfinished, and may have.

    Attributes:
        left_s: seconds that workers should still need.
        bound_s: the most that they may; ``None`` for any number.
    """

    left_s: float
    bound_s: float | None

    @classmethod
    def of(cls, session: Session, tenant: Tenant, settings: Settings) -> Work:
        """That of a tenant; nothing is counted where nothing is bound."""
        bound = work_bound(tenant, settings)
        return cls(0.0, None) if bound is None else cls(usage.work_left(session, tenant.id), bound * 3600)

    @property
    def room_s(self) -> float:
        """Seconds of work that may be added."""
        return math.inf if self.bound_s is None else max(0.0, self.bound_s - self.left_s)

    def refusal(self, asked: Asked, fits: Callable[[float], str] | None = None) -> QuotaExceeded | None:
        """What to say where there is no room for something: the numbers, and the ways out.

        Args:
            asked: what is to be queued.
            fits: says what would fit into so many seconds instead, in words that end with ``otherwise ``.
        """
        if self.bound_s is None or asked.expected_s <= self.room_s:
            return None
        instead = "" if fits is None else fits(self.room_s)
        ways = [] if instead else list(asked.smaller)
        if asked.expected_s <= self.bound_s:
            ways += ["wait for some to end", "cancel some"]
        return QuotaExceeded(
            f"this {asked.what} should take {hours(asked.expected_s)}{asked.why}, your unfinished jobs still need "
            f"{hours(self.left_s)}, and together they may need {self.bound_s / 3600:g} h (`max_work_hours`); "
            f"{instead}{', '.join(ways)}{' or ' if ways else ''}ask the operator for more",
            headers={"Retry-After": str(WAIT_S)},
        )


def work_bound(tenant: Tenant, settings: Settings) -> float | None:
    """Hours that a tenant's unfinished jobs may still need: its own bound, or else the service's; ``None`` for any."""
    return tenant.max_work_hours or settings.max_work_hours or None


def work_of(session: Session, principal: Principal, settings: Settings) -> Work:
    """The work that the tenant of a principal has unfinished, and may have."""
    return Work.of(session, keys.tenant(session, principal), settings)


def check(session: Session, principal: Principal, settings: Settings, asked: Asked) -> None:
    """Refuse what is more than the tenant may have; locked, its quota is counted by one transaction at a time.

    Args:
        session: a ``write()`` session.
        principal: of the tenant.
        settings: the service's limits.
        asked: what is to be queued.

    Raises:
        QuotaExceeded: naming what there is, what there may be, and a way out.
    """
    tenant = keys.tenant(session, principal, lock=True)
    _check_count(session, principal, settings.max_queued if tenant.max_queued is None else tenant.max_queued, asked)
    _check_work(session, tenant, settings, asked)
    _check_minutes(session, tenant)


def check_again(session: Session, principal: Principal, settings: Settings, asked: Asked) -> None:
    """Refuse more work than the tenant may have, for what was counted as a job before; locked likewise.

    Raises:
        QuotaExceeded: with the numbers, and the ways out.
    """
    _check_work(session, keys.tenant(session, principal, lock=True), settings, asked)


def hours(seconds: float) -> str:
    """A length of time in hours.

    >>> hours(0), hours(12), hours(5400), hours(3.6e6)
    ('0 h', 'less than 0.01 h', '1.50 h', '1,000.00 h')
    """
    if seconds < 36:
        return "less than 0.01 h" if seconds else "0 h"
    return f"{seconds / 3600:,.2f} h"


def _check_count(session: Session, principal: Principal, limit: int, asked: Asked) -> None:
    """Refuse more unfinished jobs than the tenant may have."""
    unfinished = keys.unfinished_jobs(session, principal)
    if unfinished + asked.jobs > limit:
        more = "" if asked.jobs == 1 else f", and ask for {asked.jobs} more"
        raise QuotaExceeded(
            f"you have {unfinished} unfinished jobs{more}, and may have {limit}; wait for some to end, or cancel some",
            headers={"Retry-After": str(WAIT_S)},
        )


def _check_work(session: Session, tenant: Tenant, settings: Settings, asked: Asked) -> None:
    """Refuse more work than the tenant's unfinished jobs may still need."""
    refused = Work.of(session, tenant, settings).refusal(asked)
    if refused is not None:
        raise refused


def _check_minutes(session: Session, tenant: Tenant) -> None:
    """Refuse more jobs where the minutes of the month are used up; those that there are go on."""
    if tenant.max_month_minutes is None:
        return
    moment = now(session)
    used = sum(usage.minutes(session, tenant.id, moment).values())
    if used >= tenant.max_month_minutes:
        renewed = usage.next_month(moment)
        raise QuotaExceeded(
            f"your jobs have held workers for {used:.0f} minutes in {usage.month_of(moment)}, and may for "
            f"{tenant.max_month_minutes}; wait until {renewed:%Y-%m-%d}, or ask the operator for more",
            headers={"Retry-After": str(math.ceil((renewed - moment).total_seconds()))},
        )
