"""The Celery application of the workers; messages are doorbells, the database is the queue."""

from __future__ import annotations

from typing import Any

from celery import Celery

from app.core import broker
from app.core.settings import Settings


def configuration(settings: Settings) -> dict[str, Any]:
    """What workers set beyond the settings that they share with the senders of messages."""
    remote = settings.broker_url.startswith("redis")
    return broker.configuration(settings) | {
        # A busy worker reserves no message behind a job of two days; a message that comes twice is harmless.
        "task_acks_late": True,
        "worker_prefetch_multiplier": 1,
        # A message has no more use once its job is claimed: what failed is in the database, and the
        # reconciler is the one way back from a lost worker.
        "task_reject_on_worker_lost": False,
        "task_acks_on_failure": True,
        "task_acks_on_timeout": True,
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "worker_max_tasks_per_child": 50,
        "worker_enable_remote_control": remote,
        "worker_send_task_events": False,
        "worker_soft_shutdown_timeout": 0,
        "worker_hijack_root_logger": False,
        "worker_redirect_stdouts": False,
        "imports": ["worker.tasks"],
    }


def make(settings: Settings) -> Celery:
    """The application that ``python -m worker`` runs."""
    app = Celery("ddservice-worker")
    app.config_from_object(configuration(settings))
    return app
