"""Messages that a committed change owes to the broker: written with the change, sent after it.

A doorbell says only that there may be work. Losing one costs a few seconds (the reconciler rings again),
sending one twice costs nothing (the second worker finds nothing to claim).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence

from sqlalchemy import delete, select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app.core import broker
from app.core.database import Database
from app.core.settings import Settings
from app.core.tables import clock
from app.models.jobs import Outbox
from app.queue import fleet

_DOORBELL = "doorbell"
_BATCH = 100
_LONGEST_WAIT_S = 60

_log = logging.getLogger(__name__)


def add(session: Session, device_class: str) -> None:
    """Owe a doorbell, in the transaction that makes a job runnable.

    Args:
        session: a ``write()`` session.
        device_class: workers to wake: ``any``, ``cpu`` or ``cuda``.
    """
    add_all(session, [device_class])


def add_all(session: Session, device_classes: Iterable[str]) -> None:
    """Owe a doorbell for each of several jobs, see :func:`add`."""
    session.add_all(Outbox(kind=_DOORBELL, payload={"device_class": name}) for name in device_classes)
    session.flush()


def publish_pending(database: Database, settings: Settings, *, limit_s: float = 0.25) -> int:
    """Send what is due, as far as the time allows; what cannot be sent is kept and tried again later.

    Never raises for a broker or a database that is down: the caller's work is committed already.

    Args:
        database: where the outbox is.
        settings: where the broker is.
        limit_s: seconds after which to leave the rest; one hanging broker call may take as long again.

    Returns:
        Number of messages sent.
    """
    try:
        return _publish(database, settings, time.monotonic() + limit_s, limit_s)
    except SQLAlchemyError as error:
        _log.warning("the outbox waits: the database does not answer (%s)", type(error).__name__)
        return 0


def ring(settings: Settings, device_classes: Iterable[str], *, limit_s: float = 0.25) -> bool:
    """Send one doorbell to the queue of each class of workers; ``False``, and a log line, if the broker is down."""
    from celery.exceptions import OperationalError as CeleryError
    from kombu.exceptions import KombuError, OperationalError
    from redis.exceptions import RedisError

    try:
        app = broker.publisher(settings, limit_s)
        for name in device_classes:
            queue = broker.queue_of(name)
            app.send_task(broker.DOORBELL, kwargs={"version": 1}, queue=queue, retry=False, ignore_result=True)
    except (OSError, KombuError, OperationalError, CeleryError, RedisError) as error:
        _log.warning("the broker cannot be rung, the outbox tries again (%s)", type(error).__name__)
        return False
    return True


def _publish(database: Database, settings: Settings, deadline: float, limit_s: float) -> int:
    with database.read() as session:
        due = _due(session)
        live = fleet.live_classes(session, settings.lease_s) if due else set()
    sent: list[int] = []
    for number, job_class in due:
        # Where no fitting worker lives there is nobody to wake; one that starts is rung by the reconciler.
        targets = [name for name in live if job_class in fleet.runs(name)]
        if time.monotonic() > deadline or not ring(settings, targets, limit_s=limit_s):
            break
        sent.append(number)
    late = [number for number, _ in due if number not in sent]
    if due:
        with database.write() as session:
            _settle(session, sent, late)
    return len(sent)


def _due(session: Session) -> Sequence[tuple[int, str]]:
    waiting = select(Outbox.id, Outbox.payload).where(Outbox.available_at <= clock()).order_by(Outbox.id).limit(_BATCH)
    return [(row.id, row.payload["device_class"]) for row in session.execute(waiting)]


def _settle(session: Session, sent: Sequence[int], late: Sequence[int]) -> None:
    session.execute(delete(Outbox).where(Outbox.id.in_(sent)))
    for tries in {*session.execute(select(Outbox.tries).where(Outbox.id.in_(late))).scalars()}:
        wait_s = min(2.0**tries, _LONGEST_WAIT_S)
        session.execute(
            update(Outbox)
            .where(Outbox.id.in_(late), Outbox.tries == tries)
            .values(tries=tries + 1, available_at=clock(wait_s))
            .execution_options(synchronize_session=False)
        )
