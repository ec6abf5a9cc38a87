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

FAILED = (pq.ExecStatus.FATAL_ERROR, pq.ExecStatus.PIPELINE_ABORTED)


class Sent:
    """A statement on its way, with one text as its parameter `$1`; and the rows it gave back, when they are there."""

    __slots__ = ("name", "parameter", "rows", "text")

    def __init__(self, text: str, parameter: bytes) -> None:
        self.text, self.parameter = text, parameter
        self.name: bytes | None = None
        self.rows: list[tuple[Any, ...]] | None = None


Asked = tuple[Sent | None, bool]  # which statement an answer is for, and whether that was preparing it


class Pipeline:
    """What was sent on one connection and is not answered yet, and the names of what has been prepared there.

    The first statement leaves at once, so that the server works on it while the others are being made.

    Args:
        reader: reads values as psycopg does.
    """

    def __init__(self, reader: Any) -> None:
        self._reader = reader
        self._asked: list[Asked] = []
        self.not_committed = False
        """Whether the last commit was surely not reached: the server had refused a statement before it."""
        self._names: dict[str, bytes] = {}
        self._named = 0

    @property
    def is_open(self) -> bool:
        """Whether anything is on its way."""
        return bool(self._asked)

    def send(self, pgconn: Any, text: str, parameter: bytes, *, begin: bytes | None) -> Sent:
        """Send a statement, whose answer comes with the next exchange.

        Args:
            pgconn: libpq's connection.
            text: the statement.
            parameter: of the statement.
            begin: begins a transaction, which must be where there is none.

        Raises:
            psycopg.Error: the connection is lost, and closed.
        """
        sent = Sent(text, parameter)
        try:
            if self._asked:
                self._ask(pgconn, sent)
            else:
                pgconn.enter_pipeline_mode()
                if begin is not None:
                    pgconn.send_query_params(begin, None)
                    self._asked.append((None, False))
                self._ask(pgconn, sent)
                pgconn.flush()
        except BaseException:
            self._asked.clear()
            pgconn.finish()
            raise
        return sent

    def exchange(self, connection: Any, *, commit: bool) -> PQGen[None]:
        """Commit, if so told, and take all the answers: a generator for psycopg's `Connection.wait`.

        Raises:
            psycopg.Error: of the first statement that failed. None after it has been run.
        """
        pgconn, asked, self._asked = connection.pgconn, self._asked, []
        self.not_committed = False
        try:
            if not asked:
                pgconn.enter_pipeline_mode()
            if commit:
                pgconn.send_query_params(b"COMMIT", None)
                asked.append((None, False))
            pgconn.pipeline_sync()
            results = yield from _answers(pgconn)
            pgconn.exit_pipeline_mode()
        except BaseException:
            pgconn.finish()  # what was not read to its end cannot be used again
            raise
        failed = self._read(asked, results)
        if failed is not None:
            error = error_from_result(results[failed], encoding=connection.info.encoding)
            self.not_committed = commit and failed < len(asked) - 1 and error.sqlstate is not None
            raise error
        if commit and results[-1].command_status != b"COMMIT":  # of a transaction that had failed it says ROLLBACK
            raise psycopg.errors.InFailedSqlTransaction("a failed transaction cannot be committed")

    def _ask(self, pgconn: Any, each: Sent) -> None:
        each.name = self._names.get(each.text)
        if each.name is None:
            self._named += 1
            each.name = b"chatapi_%d" % self._named
            pgconn.send_prepare(each.name, each.text.encode())
            self._asked.append((each, True))
        pgconn.send_query_prepared(each.name, [each.parameter])
        self._asked.append((each, False))

    def _read(self, asked: Sequence[Asked], results: Sequence[Any]) -> int | None:
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


def _answers(pgconn: Any) -> PQGen[list[Any]]:
    results: list[Any] = []
    while True:
        ready = yield Wait.RW if pgconn.flush() else Wait.R
        if not ready & Ready.R:
            continue
        pgconn.consume_input()
        while not pgconn.is_busy():
            result = pgconn.get_result()
            if result is None:  # between two answers
                continue
            if result.status == pq.ExecStatus.PIPELINE_SYNC:
                return results
            results.append(result)
            if pgconn.status == pq.ConnStatus.BAD:
                raise psycopg.OperationalError("the connection is lost")
