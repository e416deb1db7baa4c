"""Celery as the carrier of one kind of message: "look at job X". It decides nothing.

Messages are acknowledged early, results are not kept, and a doubled or lost message does no
harm: a claim is atomic, and the reaper sends again what nobody started. So neither visibility
timeouts nor late acknowledgement nor a result backend is relied on.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import structlog

from wintergarden.jobs import keys
from wintergarden.jobs.address import RedisAddress
from wintergarden.jobs.connection import Connection

if TYPE_CHECKING:
    from celery import Celery

_log = structlog.get_logger(__name__)


LOOK_AT = "wintergarden.look_at"
"""The one task: look at the job that the message names."""

TRANSPORT_OPTIONS: dict[str, Any] = {
    "global_keyprefix": keys.CELERY_PREFIX,
    "socket_connect_timeout": 2.0,
    "socket_timeout": 10.0,
    "socket_keepalive": True,
    # Only for messages that a killed worker had fetched; the reaper does not wait for it.
    "visibility_timeout": 300,
}


def create_celery(redis_url: str, **settings: Any) -> Celery:
    """The Celery application of submitters and workers; `settings` are added to the house's."""
    from celery import Celery

    address = RedisAddress.parse(redis_url)
    app = Celery("wintergarden", set_as_current=False, fixups=[])
    app.conf.update(
        broker_url=address.broker_url,
        broker_transport_options={
            **address.broker_options,
            **TRANSPORT_OPTIONS,
        },
        broker_connection_retry=True,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        accept_content=["json"],
        task_serializer="json",
        result_serializer="json",
        event_serializer="json",
        result_backend=None,
        task_ignore_result=True,
        task_acks_late=False,
        task_create_missing_queues=True,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        # A message waits where every idle worker can take it, not with a busy one.
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=True,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        **settings,
    )
    return app


class Messenger:
    """Sends the messages. Failing to is no error: the reaper will."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._celery: Celery | None = None
        self._lock = threading.Lock()

    def send(self, route: str, job_id: str) -> bool:
        try:
            self._app().send_task(
                LOOK_AT,
                args=[job_id],
                queue=queue(route),
                ignore_result=True,
                retry=True,
                retry_policy={"max_retries": 2, "interval_start": 0.05, "interval_max": 0.2},
            )
        except Exception as exc:  # kombu's, redis-py's and the socket's: all mean "not now"
            _log.warning("message not sent; the reaper will", job=job_id, error=str(exc))
            return False
        return True

    def _app(self) -> Celery:
        with self._lock:
            if self._celery is None:
                self._celery = create_celery(self._connection.url)
            return self._celery

    def close(self) -> None:
        with self._lock:
            if self._celery is not None:
                self._celery.close()


def queue(name: str, **options: Any) -> Any:
    """A kombu queue that is one Redis list, with no exchange to declare."""
    from kombu import entity

    untyped: Any = entity
    return untyped.Queue(name, untyped.Exchange(""), routing_key=name, **options)
