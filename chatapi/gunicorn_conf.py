"""gunicorn's configuration, in one place: `chatapi serve` starts gunicorn with it.

The master reads this before gevent has patched the standard library, and the workers are its forks: so the service
itself is imported in the workers' hooks only.
"""

from __future__ import annotations

import os
import signal
import time
from typing import Any

from chatapi.endpoint.connections import notice_vanishing
from chatapi.settings import load_settings

DRAIN_LEAD_S = 3.0  # before the hard end, so that what is ended then is still settled
DRAIN_PATIENCE_S = 1.5
VANISHED_FACTOR = 2  # of the send timeout: to the kernel, who reads very slowly looks like who has vanished

settings = load_settings()

wsgi_app = "chatapi.app:create_app()"
bind = [settings.bind]
workers = settings.workers or (1 if settings.is_sqlite else max(2, os.cpu_count() or 2))
worker_class = "chatapi.gunicorn_worker.Worker"
worker_connections = 4000
graceful_timeout = settings.graceful_timeout_s
timeout = 60  # of a worker's heartbeat, not of a request
keepalive = 75
limit_request_line = 65_536  # bytes, most of them the question of /api?q=
forwarder_headers = ""  # by default a header may say SCRIPT_NAME
control_socket_disable = True
preload_app = False  # every worker makes its own connections and its own lease
proc_name = "chatapi"
loglevel = "warning"


def when_ready(server: Any) -> None:
    """The listening sockets are there, and no worker yet."""
    for listener in server.LISTENERS:
        notice_vanishing(listener.sock, VANISHED_FACTOR * settings.send_timeout_s)


def post_fork(_server: Any, worker: Any) -> None:
    """Die of a SIGTERM that comes while the worker starts: it would be lost, and there is nothing to drain yet."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    worker.send_timeout_s = settings.send_timeout_s


def post_worker_init(worker: Any) -> None:
    """Begin the worker's background work, and watch for the end."""
    import gevent

    from chatapi.app import runtime_of, start_keeping

    app = worker.wsgi
    worker.keeper = start_keeping(app)
    gevent.spawn(_drain_before_the_end, worker, runtime_of(app))


def worker_int(worker: Any) -> None:
    """SIGINT or SIGQUIT: no time to finish, so end and settle what is running now."""
    from chatapi.app import runtime_of
    from chatapi.logic.keeping import drain

    if hasattr(worker, "keeper"):
        drain(runtime_of(worker.wsgi), DRAIN_PATIENCE_S)


def worker_exit(_server: Any, worker: Any) -> None:
    """The worker is done."""
    from chatapi.app import runtime_of

    if hasattr(worker, "keeper"):
        worker.keeper.stop()
        runtime = runtime_of(worker.wsgi)
        runtime.writer.repay()
        runtime.database.close()


def _drain_before_the_end(worker: Any, runtime: Any) -> None:
    """After SIGTERM calls may finish; shortly before gunicorn would kill what is left, end and settle it."""
    from chatapi.logic.keeping import drain

    while worker.alive:
        time.sleep(0.1)
    end_at = time.monotonic() + settings.graceful_timeout_s - DRAIN_LEAD_S
    while time.monotonic() < end_at:  # or until gunicorn finds no connection any more, and ends this process
        worker.hang_up_idle()
        time.sleep(0.1)
    drain(runtime, DRAIN_PATIENCE_S)
