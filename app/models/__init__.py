"""Every table of the database; importing this makes all of them known."""

from __future__ import annotations

from sqlalchemy import MetaData

from app.core.tables import Base
from app.models import (
    artifacts,
    audit,
    costs,
    datasets,
    events,
    fleet,
    jobs,
    keys,
    logs,
    metrics,
    scores,
    studies,
    webhooks,
)

TABLES = (artifacts, audit, costs, datasets, events, fleet, jobs, keys, logs, metrics, scores, studies, webhooks)

metadata: MetaData = Base.metadata
