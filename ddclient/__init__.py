"""The typed Python client of the service, and the ``ddctl`` command.

>>> from ddclient import Client
>>> job = Client().distill("digits", method="dm", ipc=1)  # doctest: +SKIP
>>> data = job.wait().download("out/").as_torch()  # doctest: +SKIP
"""

from ddclient.async_client import AsyncClient, AsyncJob
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
    UnreachableError,
)
from ddclient.job import Job
from ddclient.metrics import Metrics
from ddclient.models import Alert, Artifact, DatasetDocument, Event, JobDocument, MetricPoint

__all__ = [
    "Alert",
    "Artifact",
    "AsyncClient",
    "AsyncJob",
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
    "UnreachableError",
]
