"""How doorbells travel: the Celery settings that the API, which rings, and the workers, which hear, share.

Celery is imported by the functions only: an API that has not rung yet starts without it.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from app.core.settings import Settings

if TYPE_CHECKING:
    from celery import Celery

DOORBELL = "dd.doorbell"
"""Name of the one task: look whether there is a job to run."""
DEVICE_CLASSES = ("cpu", "cuda")
_POLLING_S = 0.2
_VISIBILITY_S = 3600
_SOCKET_S = 2.0

_apps: dict[tuple[str, str], Celery] = {}
_lock = threading.Lock()


def queue_of(device_class: str) -> str:
    """Queue that workers with this class of device listen to.

    >>> queue_of("cuda")
    'dd.cuda'
    """
    return f"dd.{device_class}"


def uses_folder(settings: Settings) -> bool:
    """Whether messages are files in the state folder, which reach this machine only."""
    return settings.broker_url.startswith("filesystem:")


def transport_options(settings: Settings, *, timeout_s: float = _SOCKET_S) -> dict[str, Any]:
    """Options of the broker's transport; the folders of ``filesystem://`` are created."""
    if uses_folder(settings):
        queue, control = settings.broker_dir / "queue", settings.broker_dir / "control"
        for folder in (queue, control):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return {
            "data_folder_in": str(queue),
            "data_folder_out": str(queue),
            "control_folder": str(control),
            "polling_interval": _POLLING_S,
        }
    return {
        # Short, because a message that comes twice does no harm: the claim decides who works.
        "visibility_timeout": _VISIBILITY_S,
        "socket_timeout": timeout_s,
        "socket_connect_timeout": timeout_s,
    }


def configuration(settings: Settings) -> dict[str, Any]:
    """Celery's settings for everyone who touches the broker."""
    from kombu import Queue

    return {
        # Without a host kombu warns, and then makes up this one.
        "broker_url": "filesystem://localhost" if uses_folder(settings) else settings.broker_url,
        "broker_transport": transport_class(settings),
        "broker_transport_options": transport_options(settings),
        "task_ignore_result": True,
        "result_backend": None,
        "task_serializer": "json",
        "accept_content": ["json"],
        "task_queues": [Queue(queue_of(name)) for name in DEVICE_CLASSES],
        "task_create_missing_queues": False,
        "task_default_queue": queue_of("cpu"),
        # The outbox tries again; a request must not hang on a dead broker.
        "task_publish_retry": False,
        "task_publish_retry_policy": {"max_retries": 0},
    }


def transport_class(settings: Settings) -> str | None:
    """Our own form of the folder transport where that is used, else ``None`` for kombu's choice by URL."""
    return "app.core.folder_transport:Transport" if uses_folder(settings) else None


def connect(settings: Settings, timeout_s: float) -> None:
    """See whether a broker that is a server answers, within about ``timeout_s`` seconds.

    Raises:
        kombu.exceptions.OperationalError: it does not.
    """
    from kombu import Connection

    options = transport_options(settings, timeout_s=timeout_s)
    with Connection(settings.broker_url, transport_options={**options, "max_retries": 0}) as connection:
        connection.ensure_connection(max_retries=1, timeout=timeout_s)


def answers(settings: Settings, timeout_s: float) -> bool:
    """Whether the broker can be reached within about ``timeout_s`` seconds; folders can while they are there."""
    if uses_folder(settings):
        return settings.home.is_dir()
    from kombu.exceptions import OperationalError

    try:
        connect(settings, timeout_s)
    except OperationalError:
        return False
    return True


def publisher(settings: Settings, timeout_s: float) -> Celery:
    """The Celery application through which this process rings; made once for each broker."""
    from celery import Celery

    key = (settings.broker_url, str(settings.broker_dir))
    with _lock:
        if key not in _apps:
            app = Celery("ddservice-publisher", set_as_current=False)
            app.config_from_object(configuration(settings))
            # Without max_retries, kombu tries to connect for seconds before it says that the broker is down.
            options = {**transport_options(settings, timeout_s=timeout_s), "max_retries": 0}
            app.conf.broker_transport_options = options
            _apps[key] = app
        return _apps[key]
