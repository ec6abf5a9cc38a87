"""PostgreSQL: how to connect, and how not to wait for ever.

The server's own time limits do not help against a server that is silent (suspended, or behind a network that drops
everything), so the client has one too: it closes the connection, which is "cannot answer" to whoever asked.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, TypeVar, cast

import psycopg
from psycopg.abc import PQGen
from psycopg.adapt import Transformer
from psycopg.pq import TransactionStatus

from chatapi.storage.guessing import GuessedWrong
from chatapi.storage.pipeline import Pipeline, Sent

T = TypeVar("T")

LOCK_WAIT_S = 2
POOL_WAIT_S = 2.0
STATEMENT_TIMEOUT_S = 10
CONNECT_TIMEOUT_S = 2
SILENCE_S = STATEMENT_TIMEOUT_S + 2.0  # later than the server's own limit, whose answer is the better one
UNAVAILABLE = ("08", "0A000", "25006", "26000", "53", "57", "58", "XX")
"""SQLSTATE classes that mean: not now. Also read-only, as a replica says after a fail-over, and 0A000: a migration has
changed what a prepared statement gives back, or it is gone (26000), and a new connection will do.
Source: PostgreSQL's manual, appendix A."""


_WAYS = ("seqscan", "bitmapscan", "hashjoin", "mergejoin", "material")
BY_KEY = "".join(f" -c enable_{way}=off" for way in _WAYS) + " -c plan_cache_mode=force_generic_plan"
"""How writing connections find rows: by their keys, and by nothing else. A statement's plan is kept for long, and one
that was made while a table was small would read all of it when it has grown."""
PLAN_FREELY = "; ".join(f"SET LOCAL enable_{way} = on" for way in _WAYS)
"""For a transaction that does read much."""


class Connection(psycopg.Connection[Any]):
    """A connection that gives up on a silent server. `silence_s` None waits for ever.

    What was sent through its pipeline goes before anything else.
    """

    silence_s: float | None = SILENCE_S

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._pipeline_of_ours = Pipeline(Transformer(self))

    def send(self, text: str, parameters: Sequence[bytes | None]) -> Sent:
        """Have a prepared statement sent with what is asked next."""
        return self._pipeline_of_ours.send(text, parameters)

    def exchange(self, *, commit: bool = False) -> None:
        """Send all that waits, and its commit if so told, in one round trip.

        Raises:
            GuessedWrong: what `expected` is not so.
            psycopg.Error: of the first statement that failed.
        """
        begin = None
        if self.pgconn.transaction_status == TransactionStatus.IDLE:
            level = self.isolation_level
            begin = b"BEGIN" if level is None else f"BEGIN ISOLATION LEVEL {level.name.replace('_', ' ')}".encode()
        if begin is None or self._pipeline_of_ours.waiting:
            if begin is not None and commit:  # all at once: without an answer nobody would know how far it came
                self._pipeline_of_ours.require_open(self.pgconn)
            try:
                self._wait(self._pipeline_of_ours.exchange(self, begin=begin, commit=commit))
            except psycopg.errors.DivisionByZero as error:  # nothing else divides
                raise GuessedWrong from error

    @property
    def not_committed(self) -> bool:
        """Whether the last exchange surely did not reach its commit."""
        return self._pipeline_of_ours.not_committed

    def commit(self) -> None:
        """Commit, if there is anything to commit."""
        if self._pipeline_of_ours.waiting or self.pgconn.transaction_status != TransactionStatus.IDLE:
            super().commit()

    def rollback(self) -> None:
        """Roll back, and forget what was not sent."""
        self._pipeline_of_ours.waiting.clear()
        super().rollback()

    def wait(self, gen: PQGen[T], interval: float = 0.1, timeout: float | None = None) -> T:
        """Wait for an answer.

        Raises:
            psycopg.OperationalError: there was none in time; the connection is closed.
        """
        if self._pipeline_of_ours.waiting:
            self.exchange()
        return self._wait(gen, interval, timeout)

    def _wait(self, gen: PQGen[T], interval: float = 0.1, timeout: float | None = None) -> T:
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
        try:
            awaited = next(gen)
        except StopIteration as end:  # there was nothing to wait for
            return cast(T, end.value)
        gevent = sys.modules["gevent"]
        hub, limit = gevent.get_hub(), gevent.Timeout.start_new(self.silence_s)
        try:
            while True:
                watcher = hub.loop.io(self.pgconn.socket, int(awaited))
                try:
                    hub.wait(watcher)
                finally:
                    watcher.close()
                awaited = gen.send(awaited)  # ready for what was awaited
        except StopIteration as end:
            return cast(T, end.value)
        except gevent.Timeout as silence:
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
def patient(connection: object, silence_s: float | None = None) -> Iterator[None]:
    """Have the connection wait so long while the block runs, for ever by default; on anything but PostgreSQL this does
    nothing."""
    if not isinstance(connection, Connection):
        yield
        return
    connection.silence_s = silence_s
    try:
        yield
    finally:
        connection.silence_s = SILENCE_S


def connect(_dialect: object, _record: object, arguments: Any, options: Any) -> Connection:
    """Make a connection for SQLAlchemy's `do_connect` event."""
    return Connection.connect(*arguments, **options)


def engine_options(pool_size: int, planning: str = "") -> dict[str, Any]:
    """SQLAlchemy's options: bounded waits everywhere, so that one stalled process cannot stop the others.

    Args:
        pool_size: the most connections at once.
        planning: more of PostgreSQL's own options.
    """
    limits = f"-c lock_timeout={LOCK_WAIT_S * 1000} -c idle_in_transaction_session_timeout=2000"
    return {
        "connect_args": {
            "options": f"{limits} -c statement_timeout={STATEMENT_TIMEOUT_S * 1000} -c timezone=UTC{planning}",
            "connect_timeout": CONNECT_TIMEOUT_S,
            "application_name": "chatapi",
            "prepare_threshold": None,  # psycopg would drop all that is prepared, ours too, at every rollback
            "tcp_user_timeout": int(SILENCE_S * 1000),
        },
        "pool_size": pool_size,
        "max_overflow": 0,
        "pool_timeout": POOL_WAIT_S,
    }


def says_not_now(error: BaseException | None) -> bool:
    """Whether the driver's error means that the server cannot answer now, rather than that a statement is wrong."""
    if isinstance(error, psycopg.OperationalError):
        return True
    state = getattr(error, "sqlstate", None) or ""
    return any(state.startswith(prefix) for prefix in UNAVAILABLE)
