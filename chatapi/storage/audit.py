"""The audit: the ledger's invariants (docs/INVARIANTS.md) as queries that find the rows which break them.

Each check is one aggregating statement, so that a ledger of a million calls is audited inside the database; all of them
see one snapshot. What breaks is counted whole, and the first rows of it are shown.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import (
    CTE,
    ColumnElement,
    Connection,
    Select,
    Text,
    and_,
    bindparam,
    case,
    func,
    literal,
    or_,
    select,
    union_all,
)

from chatapi.domain.limits import Scope
from chatapi.domain.windows import KEPT, Window
from chatapi.storage import partitions
from chatapi.storage.audit_calls import attempts_unlike_calls, calls_that_contradict_themselves, calls_without_attempt
from chatapi.storage.audit_first import MOST_ROWS, first_of
from chatapi.storage.audit_limits import broken_limits, limited_places, open_windows, open_zones
from chatapi.storage.audit_named import named_checks
from chatapi.storage.columns import Row, UtcDateTime
from chatapi.storage.counters import COLUMNS
from chatapi.storage.ledger import Ledger
from chatapi.storage.retention import calls_since
from chatapi.storage.seeding import figures_of
from chatapi.storage.tables import calls, counters, usage_days, workers

Check = tuple[str, str, Select[Row], Row]  # of which invariant, its rule, what breaks it, parameters

KEY = ("tenant_id", "scope", "scope_id", "window", "window_key")
ROLLUP_KEY = ("tenant_id", "user_id", "jti", "model", "day")
ROLLUP_FIGURES = (
    "requests",
    "prompt_tokens",
    "cached_tokens",
    "completion_tokens",
    "reasoning_tokens",
    "cost",
    "unpriced",
)

ROLLUP_COUNTS = {"requests": "answered", "unpriced": "unpriced"}


@dataclass(frozen=True, slots=True)
class Finding:
    """What breaks one rule of an invariant: how many rows, and the first of them (column → value)."""

    invariant: str
    rule: str
    count: int
    rows: tuple[Row, ...]

    def after(self, other: Finding | None) -> Finding:
        """What breaks the same rule, together with what was found before."""
        if other is None:
            return self
        return Finding(self.invariant, self.rule, other.count + self.count, (other.rows + self.rows)[:MOST_ROWS])


def audit(ledger: Ledger, renew_s: float) -> list[Finding]:
    """Check I1 to I7 on one snapshot of a live database. Nothing found is an empty list.

    Windows that began before the days whose calls retention left are not compared with calls.

    Args:
        ledger: the ledger, its default limits and the length of its leases.
        renew_s: seconds between two renewals of a lease, and so between two sweeps of one worker.

    Raises:
        DatabaseUnavailable: the database cannot answer.
    """
    findings: dict[tuple[str, str], Finding] = {}
    with ledger.database.snapshot() as connection:
        partitions.hold(connection)
        for invariant, rule, broken, parameters in _checks(connection, ledger, renew_s):
            broken_rows = connection.execute(broken, parameters).mappings()
            # Their names are SQLAlchemy's own kind of str, which no JSON encoder takes.
            rows = [{str(name): value for name, value in row.items()} for row in broken_rows]
            if rows:
                breaking = [row.pop("breaking") for row in rows]
                found = Finding(invariant, rule, breaking[0], tuple(rows))
                findings[invariant, rule] = found.after(findings.get((invariant, rule)))
    return [findings[place] for place in sorted(findings, key=lambda place: place[0])]


def _checks(connection: Connection, ledger: Ledger, renew_s: float) -> Iterator[Check]:
    now, retained = ledger.database.now(connection), {"calls_since": calls_since(connection)}
    zones = open_zones(connection, now)
    for place in limited_places(connection, ledger.defaults) if zones else ():
        scope, metric, window = place
        rule = f"{metric} of a {scope} and {window} stay within the limit, but for what calls used beyond their holds"
        yield "I1", rule, first_of(broken_limits, zones, place), open_windows(zones, place, ledger.defaults, now)
    yield "I2", "every counter is what its calls were charged and hold", first_of(_counters_unlike_calls), retained
    yield "I3", "a call's state, times and charge agree", first_of(calls_that_contradict_themselves), {}
    yield "I3", "a call's last attempt ended as the call did", first_of(attempts_unlike_calls), {}
    yield "I4", "every call has its attempt, begun with the admission or later", first_of(calls_without_attempt), {}
    yield "I5", "a tenant's counters are the sum of its users'", first_of(_tenants_unlike_users), {}
    yield (
        "I6",
        "no held call outlives its worker's lease or its deadline by more than one sweep",
        first_of(_overdue),
        _sweep_times(ledger, renew_s, now),
    )
    yield "I7", "the roll-ups are the sum of the calls", first_of(_rollups_unlike_calls), retained
    yield from named_checks(connection, now)


def _counters_unlike_calls() -> Select[Row]:
    """Adds up what calls say and takes away what counters say: whatever is left over is wrong, on either side."""
    days = _calls_by_day()
    expected = [_expected(days, scope, window) for scope in Scope for window in KEPT]
    said = select(*(counters.c[name] for name in KEY), *_zeros("by_calls"), *(counters.c[name] for name in COLUMNS))
    said = said.where(
        or_(
            and_(counters.c.window == Window.DAY.value, _retained(counters.c.window_key)),
            and_(
                counters.c.window == Window.MONTH.value,
                counters.c.model == "",
                _retained(counters.c.window_key + "-01"),
            ),
        )
    )
    both = union_all(*expected, said.where(counters.c.model == "")).subquery()
    sums = {column.name: func.sum(column) for column in both.c if column.name not in KEY}
    unlike = or_(*(sums[f"{name}_by_calls"] != sums[f"{name}_by_counter"] for name in COLUMNS))
    figures = [figure.label(name) for name, figure in sums.items()]
    return select(*(both.c[name] for name in KEY), *figures).group_by(*(both.c[name] for name in KEY)).having(unlike)


def _zeros(side: str) -> list[ColumnElement[int]]:
    return [literal(0).label(f"{name}_{side}") for name in COLUMNS]


def _calls_by_day() -> CTE:
    """One row for each user, access token and local day: the only pass over the calls."""
    figures = figures_of(Window.DAY)
    who = (calls.c.tenant_id, calls.c.user_id, calls.c.jti, calls.c.day)
    return select(*who, *(func.sum(figures[name]).label(name) for name in COLUMNS)).group_by(*who).cte("calls_by_day")


def _expected(days: CTE, scope: Scope, window: Window) -> Select[Row]:
    scope_id = {Scope.ACCESS_TOKEN: days.c.jti, Scope.USER: days.c.user_id, Scope.TENANT: days.c.tenant_id}[scope]
    key = days.c.day if window is Window.DAY else func.substr(days.c.day, 1, 7)
    places = (
        days.c.tenant_id,
        literal(scope.value).label("scope"),
        scope_id.label("scope_id"),
        literal(window.value).label("window"),
        key.label("window_key"),
    )
    by_calls = [days.c[name].label(f"{name}_by_calls") for name in COLUMNS]
    begins = key if window is Window.DAY else key + "-01"
    return select(*places, *by_calls, *_zeros("by_counter")).where(_retained(begins))


def _retained(first_day: ColumnElement[str]) -> ColumnElement[bool]:
    """Whether all calls of a window that begins with this day are in the ledger."""
    return first_day >= bindparam("calls_since", type_=Text())


def _tenants_unlike_users() -> Select[Row]:
    def total(scope: Scope, name: str) -> ColumnElement[int]:
        return func.sum(case((counters.c.scope == scope.value, counters.c[name]), else_=0))

    place = (counters.c.tenant_id, counters.c.window, counters.c.window_key)
    figures = [
        total(scope, name).label(f"{name}_by_{scope}") for name in COLUMNS for scope in (Scope.TENANT, Scope.USER)
    ]
    unlike = or_(*(total(Scope.TENANT, name) != total(Scope.USER, name) for name in COLUMNS))
    always = and_(counters.c.window.in_([window.value for window in KEPT]), counters.c.model == "")
    return select(*place, *figures).where(always).group_by(*place).having(unlike)


def _sweep_times(ledger: Ledger, renew_s: float, now: datetime) -> Row:
    """A sweeper may have to wait for one lease time itself; it looks every `renew_s`, or two when it is slow."""
    sweep = timedelta(seconds=ledger.lease_s + 2 * renew_s)
    return {"dead_since": now - timedelta(seconds=ledger.lease_s) - sweep, "over_since": now - sweep}


def _overdue() -> Select[Row]:
    dead_since, over_since = bindparam("dead_since", type_=UtcDateTime()), bindparam("over_since", type_=UtcDateTime())
    late = or_(
        workers.c.renewed_at <= dead_since,
        and_(workers.c.id.is_(None), calls.c.admitted_at <= dead_since),
        calls.c.deadline_at <= over_since,
    )
    return (
        select(
            calls.c.tenant_id,
            calls.c.id,
            calls.c.worker_id,
            workers.c.renewed_at,
            calls.c.admitted_at,
            calls.c.deadline_at,
        )
        .select_from(calls.outerjoin(workers, workers.c.id == calls.c.worker_id))
        .where(calls.c.state == "held", late)
    )


def _rollups_unlike_calls() -> Select[Row]:
    by_calls: dict[str, ColumnElement[int]] = {
        name: calls.c[name] for name in ROLLUP_FIGURES if name not in ROLLUP_COUNTS
    }
    by_calls |= {name: case((calls.c[column], 1), else_=0) for name, column in ROLLUP_COUNTS.items()}
    charged = select(
        *(calls.c[name] for name in ROLLUP_KEY),
        *(by_calls[name].label(f"{name}_by_calls") for name in ROLLUP_FIGURES),
        *(literal(0).label(f"{name}_by_rollup") for name in ROLLUP_FIGURES),
    ).where(calls.c.state.in_(["settled", "expired"]), _retained(calls.c.day))
    said = select(
        *(usage_days.c[name] for name in ROLLUP_KEY),
        *(literal(0) for name in ROLLUP_FIGURES),
        *(usage_days.c[name] for name in ROLLUP_FIGURES),
    ).where(_retained(usage_days.c.day))
    both = union_all(charged, said).subquery()
    key = [both.c[name] for name in ROLLUP_KEY]
    sums = {column.name: func.sum(column) for column in both.c if column.name not in ROLLUP_KEY}
    unlike = or_(*(sums[f"{name}_by_calls"] != sums[f"{name}_by_rollup"] for name in ROLLUP_FIGURES))
    return select(*key, *(figure.label(name) for name, figure in sums.items())).group_by(*key).having(unlike)
