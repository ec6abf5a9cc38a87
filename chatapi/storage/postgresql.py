"""PostgreSQL: how to connect, and how not to wait for ever.

The server's own time limits do not help against a server that is silent (suspended, or behind a network that drops
everything), so the client has one too: it closes the connection, which is "cannot answer" to whoever asked.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, TypeVar

import psycopg
from psycopg.abc import PQGen

from chatapi.settings import Settings

T = TypeVar("T")

LOCK_WAIT_S = 2
POOL_WAIT_S = 2.0
STATEMENT_TIMEOUT_S = 10
CONNECT_TIMEOUT_S = 2
SILENCE_S = STATEMENT_TIMEOUT_S + 2.0  # later than the server's own limit, whose answer is the better one
UNAVAILABLE = ("08", "0A000", "25006", "53", "57", "58", "XX")
"""SQLSTATE classes that mean: not now. Also read-only, as a replica says after a fail-over, and 0A000: a migration has
changed what a prepared statement gives back, and a new connection will do.
Source: PostgreSQL's manual, appendix A."""


class Connection(psycopg.Connection[Any]):
    """A connection that gives up on a silent server. `silence_s` None waits for ever."""

    silence_s: float | None = SILENCE_S

    def wait(self, gen: PQGen[T], interval: float = 0.1, timeout: float | None = None) -> T:
        """Wait for an answer.

        Raises:
            psycopg.OperationalError: there was none in time; the connection is closed.
        """
        if timeout is None and _waits_in_hub():
            return self._wait_in_hub(gen)
        try:
            return super().wait(gen, interval, self.silence_s if timeout is None else timeout)
        except psycopg.errors._WaitTimeout as error:
            if timeout is not None:
                raise
            self.close()
            raise psycopg.OperationalError("the server is silent") from error

    def _wait_in_hub(self, gen: PQGen[T]) -> T:
        """The same under gevent, on the hub itself: psycopg's own way there makes a poll object for every answer."""
        from gevent import Timeout, get_hub

        hub, limit = get_hub(), Timeout.start_new(self.silence_s)
        try:
            awaited = next(gen)
            while True:
                watcher = hub.loop.io(self.pgconn.socket, int(awaited))
                try:
                    hub.wait(watcher)
                finally:
                    watcher.close()
                awaited = gen.send(awaited)  # ready for what was awaited
        except StopIteration as end:
            value: T = end.value
            return value
        except Timeout as silence:
            self.close()
            if silence is not limit:
                raise
            raise psycopg.OperationalError("the server is silent") from silence
        except Exception:
            raise
        except BaseException:  # this greenlet is ended: nobody will read the answer
            self.close()
            raise
        finally:
            limit.close()


@cache
def _waits_in_hub() -> bool:
    """Whether threads are gevent's greenlets here. Without gevent nothing of it is loaded."""
    if "gevent.monkey" not in sys.modules:
        return False
    from gevent.monkey import is_module_patched

    return bool(is_module_patched("select"))


@contextmanager
def patient(connection: object) -> Iterator[None]:
    """Have the connection wait for ever while the block runs; on anything but PostgreSQL this does nothing."""
    if not isinstance(connection, Connection):
        yield
        return
    connection.silence_s = None
    try:
        yield
    finally:
        connection.silence_s = SILENCE_S


def connect(_dialect: object, _record: object, arguments: Any, options: Any) -> Connection:
    """Make a connection for SQLAlchemy's `do_connect` event."""
    return Connection.connect(*arguments, **options)


def engine_options(settings: Settings) -> dict[str, Any]:
    """SQLAlchemy's options: bounded waits everywhere, so that one stalled process cannot stop the others."""
    limits = f"-c lock_timeout={LOCK_WAIT_S * 1000} -c idle_in_transaction_session_timeout=2000"
    return {
        "connect_args": {
            "options": f"{limits} -c statement_timeout={STATEMENT_TIMEOUT_S * 1000} -c timezone=UTC",
            "connect_timeout": CONNECT_TIMEOUT_S,
            "application_name": "chatapi",
            "tcp_user_timeout": int(SILENCE_S * 1000),
        },
        "pool_size": settings.database_pool,
        "max_overflow": 0,
        "pool_timeout": POOL_WAIT_S,
    }


def says_not_now(error: BaseException | None) -> bool:
    """Whether the driver's error means that the server cannot answer now, rather than that a statement is wrong."""
    if isinstance(error, psycopg.OperationalError):
        return True
    state = getattr(error, "sqlstate", None) or ""
    return any(state.startswith(prefix) for prefix in UNAVAILABLE)
