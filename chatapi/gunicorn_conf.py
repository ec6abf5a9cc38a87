"""gunicorn's configuration, in one place: `chatapi serve` starts gunicorn with it, and SIGHUP has it read again.

The master reads this before gevent has patched the standard library, and the workers are its forks: so the service
itself is imported in the workers' hooks only.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import time
from typing import Any

from chatapi.endpoint.connections import notice_vanishing
from chatapi.errors import ConfigurationError, DatabaseUnavailable
from chatapi.gunicorn_worker import generations
from chatapi.settings import load_settings

DRAIN_LEAD_S = 3.0  # before the hard end, so that what is ended then is still settled;
DRAIN_S_PER_CALL = 0.004  # and more where much has to be
DRAIN_PATIENCE_S = 1.5
END = signal.SIGTERM
TRY_AGAIN_S = 2.0
VANISHED_FACTOR = 2  # of the send timeout: to the kernel, who reads very slowly looks like who has vanished

settings = load_settings()

wsgi_app = "chatapi.gunicorn_conf:application()"
bind = [settings.bind]
workers = settings.workers or (1 if settings.is_sqlite else max(2, os.cpu_count() or 2))
worker_class = "chatapi.gunicorn_worker.Worker"
worker_connections = 4000
graceful_timeout = settings.graceful_timeout_s
timeout = 60  # of a worker's heartbeat, not of a request
keepalive = 75
limit_request_line = 65_536  # bytes, most of them the question of /api?q=
forwarder_headers = ""  # by default a header may say SCRIPT_NAME,
secure_scheme_headers: dict[str, str] = {}  # and others the scheme; only CHATAPI_TRUSTED_PROXIES says who is believed
forwarded_allow_ips = "*"  # as there is nothing left to believe, no address needs to be looked at
control_socket_disable = True
preload_app = False  # every worker makes its own connections and its own lease
proc_name = "chatapi"
loglevel = "warning"


def application() -> Any:
    """The service, with the settings that the master has read, whatever the files say by now.

    gunicorn ends when a worker cannot start. That is right for the first ones; later ones, after a crash or a SIGHUP,
    must not take with them those that serve, so they end by themselves, and the master tries again.
    """
    gc.disable()  # while modules are imported nothing becomes garbage, and looking for it takes a fifth of the time
    from chatapi.app import create_app

    try:
        app = create_app(settings)
        gc.freeze()  # and what is there now stays: no collection needs to look at it again
        return app
    except (ConfigurationError, DatabaseUnavailable) as error:
        if not generations.serving:
            raise
        print(f"Error: a worker cannot start: {error}", file=sys.stderr, flush=True)
        time.sleep(TRY_AGAIN_S)
        sys.exit(1)
    finally:
        gc.enable()


def when_ready(server: Any) -> None:
    """The listening sockets are there, and no worker yet."""
    for listener in server.LISTENERS:
        notice_vanishing(listener.sock, VANISHED_FACTOR * settings.send_timeout_s)


on_reload = when_ready


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
    generations.serve(worker.generation)
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
        runtime.writer.close()
        runtime.database.close()


def _drain_before_the_end(worker: Any, runtime: Any) -> None:
    """After SIGTERM calls may finish; shortly before gunicorn would kill what is left, end and settle it."""
    from chatapi.logic.keeping import drain, prepare_to_drain

    while worker.alive and not worker.is_replaced:
        time.sleep(0.1)
    if worker.is_replaced:
        _give_way(worker)
    killed_at = time.monotonic() + settings.graceful_timeout_s
    prepare_to_drain(runtime)
    while time.monotonic() < killed_at - _lead_s(runtime):  # or until gunicorn finds none, and ends this process
        worker.hang_up_idle()
        time.sleep(0.1)
    drain(runtime, _lead_s(runtime) / 2)


def _lead_s(runtime: Any) -> float:
    """How long before the end of its time a worker ends what it still runs, in seconds."""
    wished = DRAIN_LEAD_S + DRAIN_S_PER_CALL * len(runtime.running.all())
    return max(DRAIN_LEAD_S, min(wished, settings.graceful_timeout_s / 2))


def _give_way(worker: Any) -> None:
    """After SIGHUP: serve until a successor does, then let calls take as long as any may, unless the master ends."""
    while generations.serving <= worker.generation and not generations.ending:
        time.sleep(0.1)
    longest_s = settings.call_deadline_s + settings.graceful_timeout_s
    worker.give_way(longest_s)
    end_at = time.monotonic() + longest_s - settings.graceful_timeout_s
    while time.monotonic() < end_at and not generations.ending:
        worker.hang_up_idle()
        time.sleep(0.1)
