"""Monthly statements: for one tenant, what it was charged, and whether all that the ledger says of it agrees."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass

from chatapi.domain.actors import Actor
from chatapi.domain.calls import CallState
from chatapi.domain.statements import (
    LINE_COLUMNS,
    CallsOfKind,
    Check,
    LocalMonth,
    Statement,
    line_record,
)
from chatapi.domain.usage import UsageSource
from chatapi.domain.usage_reports import Record, UsageFigures, UsageRow
from chatapi.errors import NotFound
from chatapi.logic.explain import utc
from chatapi.logic.renderings import csv_text, json_object
from chatapi.logic.row_streams import RowStream
from chatapi.logic.runtime import Runtime
from chatapi.storage import partitions, reports, statements
from chatapi.storage.accounts import Transaction


@dataclass
class OpenStatement:
    """A statement whose lines are being read. `checks` can be asked for when they have been."""

    statement: Statement
    lines: Generator[UsageRow, None, None]

    def __post_init__(self) -> None:
        self._sum = UsageFigures()

    def rows(self) -> Generator[UsageRow, None, None]:
        """The lines by user and model; they are added up on their way."""
        for row in self.lines:
            self._sum = self._sum.plus(row.figures)
            yield row

    def checks(self) -> list[Check]:
        """What must agree, when all lines have been read."""
        return list(self.statement.checks(self._sum))


@contextmanager
def opened(runtime: Runtime, tenant: str, month: LocalMonth) -> Iterator[OpenStatement]:
    """The statement of a tenant, by its name, for who runs a command: it may take its time.

    Raises:
        NotFound: there is no such tenant.
        DatabaseUnavailable: the database cannot answer.
    """
    with runtime.database.snapshot() as connection:
        yield _open(runtime, connection, None, tenant, month)


def open_statement(
    runtime: Runtime, actor: Actor, tenant_id: str, month: LocalMonth, *, as_csv: bool = False
) -> RowStream:
    """The same for who asks over HTTP, as JSON or CSV, made while it is read.

    Raises:
        NotFound: there is no such tenant, or it is out of reach.
        Overloaded, DatabaseUnavailable: not now.
    """
    if not actor.reaches(tenant_id):
        raise NotFound("There is no such tenant.")
    most_s = runtime.settings.report_s

    def pieces() -> Generator[bytes, None, None]:
        with reports.reading(runtime.database, most_s) as connection:
            made = _open(runtime, connection, tenant_id, None, month)
            yield from as_csv_text(made) if as_csv else as_json(made)

    return RowStream(pieces(), most_s)


def as_json(made: OpenStatement) -> Iterator[bytes]:
    """The statement as a JSON object."""

    def tail() -> Iterator[tuple[str, object]]:
        checks = made.checks()
        yield "checks", [check.as_record() for check in checks]
        yield "agrees", all(check.holds for check in checks)

    return json_object(head_of(made.statement), "lines", _lines(made), tail())


def as_csv_text(made: OpenStatement) -> Iterator[bytes]:
    """The statement's lines, the sums by model, and the total, as CSV."""
    statement = made.statement

    def records() -> Iterator[Record]:
        nowhere: Record = dict.fromkeys(LINE_COLUMNS)
        for line in _lines(made):
            yield nowhere | {"kind": "line"} | line
        for row in statement.by_model:
            yield nowhere | {"kind": "model"} | line_record(row, row.figures)
        yield nowhere | {"kind": "total"} | line_record(None, statement.total)

    return csv_text(LINE_COLUMNS, records())


def head_of(statement: Statement) -> dict[str, object]:
    """All but the lines and the checks, for programs."""
    zone = statement.zone
    begins_at, ends_at = statement.month.span(zone)
    by_model = []
    for row in statement.by_model:
        record = line_record(row, row.figures)
        by_model.append({name: value for name, value in record.items() if name not in {"user_id", "user"}})
    return {
        "object": "statement",
        "tenant_id": statement.tenant_id,
        "tenant": statement.tenant,
        "month": str(statement.month),
        "timezone": zone.at(begins_at).key,
        "begins_at": utc(begins_at),
        "ends_at": utc(ends_at),
        "made_at": utc(statement.made_at),
        "is_over": statement.is_over,
        "is_complete": statement.is_complete,
        "total": line_record(None, statement.total),
        "by_model": by_model,
        "calls": _calls(statement),
        "next_timezone": zone.next_name,
        "next_timezone_from": None if zone.next_from is None else utc(zone.next_from),
        "timezone_changes": [
            {"at": utc(change.at), "by": change.actor, "from": change.before, "to": change.after}
            for change in statement.zone_changes
        ],
    }


def remarks(statement: Statement) -> Iterator[str]:
    """What somebody who reads the statement should know, in sentences."""
    held, expired = statement.of_state(CallState.HELD), statement.of_state(CallState.EXPIRED)
    at_hold = statement.of_state(CallState.SETTLED, UsageSource.HOLD)
    counted = statement.of_state(CallState.SETTLED, UsageSource.COUNTED)
    if not statement.is_over:
        yield "The month is not over: more will be charged to it."
    if held.calls:
        yield f"{held.calls:,} calls are in flight; they hold {held.held.tokens:,} tokens, which are not charged yet."
    if expired.calls:
        charge = f"charged at their hold, {expired.charged.tokens:,} tokens"
        yield f"{expired.calls:,} calls expired and are {charge}: late truth may correct it."
    if at_hold.calls:
        charge = f"charged at their hold, {at_hold.charged.tokens:,} tokens"
        yield f"{at_hold.calls:,} calls are {charge}: nobody saw their usage."
    if counted.calls:
        yield f"{counted.calls:,} calls are charged as counted here, {counted.charged.tokens:,} tokens."
    if statement.total.unpriced:
        yield f"{statement.total.unpriced:,} calls are of unknown price: the cost is that of the others."
    if statement.attempts_at_risk:
        yield f"{statement.attempts_at_risk:,} attempts ended unseen: their upstreams may charge for them."
    if not statement.has_all_calls:
        yield f"Calls of days before {statement.calls_since} have been deleted: what is said of calls is of the others."
    for change in statement.zone_changes:
        to = f" to {change.after}" if change.after else ", which was under way, back"
        yield f"{change.actor} changed the time zone{to} on {utc(change.at)}."
    zone = statement.zone
    if zone.next_name is not None and zone.next_from is not None:
        yield f"The time zone is {zone.name} until {utc(zone.next_from)}, and {zone.next_name} from then on."


def _open(
    runtime: Runtime, connection: Transaction, tenant_id: str | None, name: str | None, month: LocalMonth
) -> OpenStatement:
    partitions.hold(connection)
    tenant = statements.find_tenant(connection, tenant_id, name=name)
    if tenant is None:
        raise NotFound("There is no such tenant." if name is None else f"There is no tenant {name!r}.")
    statement = statements.read_statement(runtime.database, connection, tenant, month)
    return OpenStatement(statement, statements.statement_lines(connection, statement))


def _lines(made: OpenStatement) -> Iterator[Record]:
    with closing(made.rows()) as rows:
        for row in rows:
            yield line_record(row, row.figures)


def _calls(statement: Statement) -> dict[str, object]:
    """The calls by what became of them."""
    settled, held = CallState.SETTLED, statement.of_state(CallState.HELD)
    in_flight = {
        "calls": held.calls,
        "held_tokens": held.held.tokens,
        "held_cost_nanodollars": held.held.cost,
    }
    return {
        "as_reported": _charged(statement.of_state(settled, UsageSource.UPSTREAM)),
        "as_counted": _charged(statement.of_state(settled, UsageSource.COUNTED)),
        "at_hold": _charged(statement.of_state(settled, UsageSource.HOLD)),
        "expired": _charged(statement.of_state(CallState.EXPIRED)),
        "released": statement.of_state(CallState.RELEASED).calls,
        "in_flight": in_flight,
        "attempts_at_risk": statement.attempts_at_risk,
        "all_kept": statement.has_all_calls,
        "calls_since": statement.calls_since or None,
    }


def _charged(calls: CallsOfKind) -> dict[str, object]:
    return {
        "calls": calls.calls,
        "requests": calls.charged.requests,
        "total_tokens": calls.charged.tokens,
        "known_cost_nanodollars": calls.charged.cost,
        "unpriced_calls": calls.unpriced,
    }
