"""Statements that go to PostgreSQL together: all that were sent before somebody wants an answer, in one round trip.

A round trip costs the driver's own way with a statement ten times what the statement itself costs here, and most of a
ledger's statements need not be waited for. So they are prepared once for each connection and sent through libpq's
pipeline. Source: PostgreSQL's manual, "libpq, pipeline mode".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg import pq
from psycopg.abc import PQGen
from psycopg.errors import error_from_result
from psycopg.waiting import Ready, Wait

LOST = b"08"
"""The class of SQLSTATEs that tell of connections. Source: PostgreSQL's manual, appendix A."""
MOST_NOTHING = 2  # one is between two answers; a connection that is lost has nothing but
FAILED = (pq.ExecStatus.FATAL_ERROR, pq.ExecStatus.PIPELINE_ABORTED)


class Sent:
    """A statement on its way, with texts as its parameters; and the rows it gave back, when they are there."""

    __slots__ = ("name", "parameters", "rows", "text")

    def __init__(self, text: str, parameters: Sequence[bytes | None]) -> None:
        self.text, self.parameters = text, parameters
        self.name: bytes | None = None
        self.rows: list[tuple[Any, ...]] | None = None


class Pipeline:
    """What waits to be sent on one connection, and the names of what has been prepared there.

    Args:
        reader: reads values as psycopg does.
    """

    def __init__(self, reader: Any) -> None:
        self._reader = reader
        self.waiting: list[Sent] = []
        self.not_committed = False
        """Whether the last commit was surely not reached: the server had refused a statement before it."""
        self._names: dict[str, bytes] = {}
        self._named = 0

    def send(self, text: str, parameters: Sequence[bytes | None]) -> Sent:
        """Have a statement sent with the next exchange."""
        sent = Sent(text, parameters)
        self.waiting.append(sent)
        return sent

    def exchange(self, connection: Any, *, begin: bytes | None, commit: bool) -> PQGen[None]:
        """Send what waits, and take all the answers: a generator for psycopg's `Connection.wait`.

        Raises:
            psycopg.Error: of the first statement that failed. None after it has been run.
        """
        pgconn, sent, self.waiting = connection.pgconn, self.waiting, []
        self.not_committed = False
        results: list[Any] = []
        asked: list[tuple[Sent | None, bool]] = []  # which statement each answer is for, and whether it was prepared
        pgconn.enter_pipeline_mode()
        try:
            if begin is not None:
                pgconn.send_query_params(begin, None)
                asked.append((None, False))
            for each in sent:
                self._send(pgconn, each, asked)
            if commit:
                pgconn.send_query_params(b"COMMIT", None)
                asked.append((None, False))
            pgconn.pipeline_sync()
            yield from _answers(pgconn, results)
            pgconn.exit_pipeline_mode()
        except BaseException:
            self.not_committed = commit and _is_refused(results[: len(asked) - 1])
            pgconn.finish()  # what was not read to its end cannot be used again
            raise
        failed = self._read(asked, results)
        if failed is not None:
            self.not_committed = commit and _is_refused(results[: len(asked) - 1])
            raise error_from_result(results[failed], encoding=connection.info.encoding)
        if commit and results[-1].command_status != b"COMMIT":  # of a transaction that had failed it says ROLLBACK
            raise psycopg.errors.InFailedSqlTransaction("a failed transaction cannot be committed")

    def require_open(self, pgconn: Any) -> None:
        """Look whether the server has ended this connection since its last answer: nothing that waits was sent then.

        Raises:
            psycopg.OperationalError: it has; what waits is surely not committed.
        """
        self.not_committed = True
        for _ in range(2):  # its last words, and then its end
            pgconn.consume_input()

    def _send(self, pgconn: Any, each: Sent, asked: list[tuple[Sent | None, bool]]) -> None:
        each.name = self._names.get(each.text)
        if each.name is None:
            self._named += 1
            each.name = b"chatapi_%d" % self._named
            pgconn.send_prepare(each.name, each.text.encode())
            asked.append((each, True))
        pgconn.send_query_prepared(each.name, each.parameters)
        asked.append((each, False))

    def _read(self, asked: Sequence[tuple[Sent | None, bool]], results: Sequence[Any]) -> int | None:
        """Give each statement its result. Returns which one failed first."""
        for place, ((each, prepared), result) in enumerate(zip(asked, results, strict=True)):
            if result.status in FAILED:
                return place
            if each is None:
                continue
            if prepared:
                assert each.name is not None
                self._names[each.text] = each.name
            else:
                self._reader.set_pgresult(result)
                each.rows = self._reader.load_rows(0, result.ntuples, tuple)
        return None


def _is_refused(results: Sequence[Any]) -> bool:
    """Whether PostgreSQL itself has refused one of these statements. A lost connection is no word of its; nor is what a
    pooler says of one: unlike the server it names no place in its source."""
    errors = [each for each in results if each.status == pq.ExecStatus.FATAL_ERROR]
    return any(
        each.error_field(pq.DiagnosticField.SOURCE_FUNCTION)
        and not (each.error_field(pq.DiagnosticField.SQLSTATE) or LOST).startswith(LOST)
        for each in errors
    )


def _answers(pgconn: Any, results: list[Any]) -> PQGen[None]:
    """Take the answers, as far as there are any."""
    while True:
        ready = yield Wait.RW if pgconn.flush() else Wait.R
        if not ready & Ready.R:
            continue
        try:
            pgconn.consume_input()
        except psycopg.OperationalError:
            _take(pgconn, results)  # what the server said before the connection was lost
            raise
        if _take(pgconn, results):
            return
        if pgconn.status == pq.ConnStatus.BAD:
            raise psycopg.OperationalError("the connection is lost")


def _take(pgconn: Any, results: list[Any]) -> bool:
    """Take the answers that have come; whether they are all."""
    nothing = 0
    while nothing < MOST_NOTHING and not pgconn.is_busy():
        result = pgconn.get_result()
        if result is None:
            nothing += 1
            continue
        nothing = 0
        if result.status == pq.ExecStatus.PIPELINE_SYNC:
            return True
        results.append(result)
    return False
