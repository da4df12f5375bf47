"""The typed Python client of the service, and the ``ddctl`` command.

>>> from ddclient import Client
>>> job = Client().distill("digits", method="dm", ipc=1)  # doctest: +SKIP
>>> data = job.wait().download("out/").as_torch()  # doctest: +SKIP
"""

from ddclient.async_client import AsyncClient, AsyncJob
from ddclient.async_study import AsyncStudy
from ddclient.bundle import Bundle
from ddclient.client import Client
from ddclient.dataset import Dataset
from ddclient.errors import (
    BadInputError,
    ClientError,
    DatasetFailedError,
    DownloadError,
    JobFailedError,
    ProblemError,
    ScoreFailedError,
    StudyFailedError,
    UnreachableError,
    UnreadableAnswerError,
)
from ddclient.job import Job
from ddclient.metrics import Metrics
from ddclient.models import Alert, Artifact, DatasetDocument, Event, JobDocument, MetricPoint
from ddclient.score import AsyncScore, Score
from ddclient.score_models import Leaderboard, ScoreDocument
from ddclient.study import Study
from ddclient.study_models import StudyDocument

__all__ = [
    "Alert",
    "Artifact",
    "AsyncClient",
    "AsyncJob",
    "AsyncScore",
    "AsyncStudy",
    "BadInputError",
    "Bundle",
    "Client",
    "ClientError",
    "Dataset",
    "DatasetDocument",
    "DatasetFailedError",
    "DownloadError",
    "Event",
    "Job",
    "JobDocument",
    "JobFailedError",
    "Leaderboard",
    "MetricPoint",
    "Metrics",
    "ProblemError",
    "Score",
    "ScoreDocument",
    "ScoreFailedError",
    "Study",
    "StudyDocument",
    "StudyFailedError",
    "UnreachableError",
    "UnreadableAnswerError",
]
