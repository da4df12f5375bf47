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
    StudyFailedError,
    UnreachableError,
)
from ddclient.job import Job
from ddclient.metrics import Metrics
from ddclient.models import Alert, Artifact, DatasetDocument, Event, JobDocument, MetricPoint
from ddclient.study import Study
from ddclient.study_models import StudyDocument

__all__ = [
    "Alert",
    "Artifact",
    "AsyncClient",
    "AsyncJob",
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
    "MetricPoint",
    "Metrics",
    "ProblemError",
    "Study",
    "StudyDocument",
    "StudyFailedError",
    "UnreachableError",
]
