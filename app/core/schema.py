"""The whole schema: importing this module makes every table known."""

from __future__ import annotations

from sqlalchemy import MetaData

from app.artifacts import models as artifacts
from app.core.tables import Base
from app.events import models as events
from app.jobs import models as jobs
from app.keys import models as keys
from app.metrics import models as metrics
from app.system import models as system

SLICES = (artifacts, events, jobs, keys, metrics, system)

metadata: MetaData = Base.metadata
