"""Whether all that a database says of usage agrees: calls, reports, what users are told, counters, statements, audit.

The truth is what the calls say, added up here in plain Python, which knows none of the statements that it judges.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, timedelta
from itertools import combinations
from typing import Any, NamedTuple

from sqlalchemy import select

from chatapi.domain.principals import Claims
from chatapi.domain.statements import LocalMonth
from chatapi.domain.usage_reports import Group, Period, UsageFigures, UsageFilter, UsageRow
from chatapi.domain.windows import KEPT, Window, window_key
from chatapi.errors import UnknownAccessToken
from chatapi.logic import audit, me, statements, usage
from chatapi.logic.runtime import Runtime
from chatapi.storage import me as stored
from chatapi.storage.retention import calls_since
from chatapi.storage.tables import access_tokens, calls, counters, tenants
from tests.support.runtimes import make_runtime

GROUPINGS = [groups for size in range(len(Group) + 1) for groups in combinations(Group, size)]
NOTHING = UsageFigures()
MOST_TOLD = 20


class Place(NamedTuple):
    """Whose calls, of what and when."""

    tenant_id: str
    user_id: str
    jti: str
    model: str
    day: str


Truth = Mapping[Place, UsageFigures]


def disagreements(database_url: str, *, audited: bool = True, **settings: Any) -> list[str]:
    """Everything that does not agree, in sentences; nothing where all does.

    Args:
        database_url: of a migrated database on which nobody works meanwhile.
        audited: whether `chatapi audit` shall be asked, too.
        settings: of the installation, such as `daily_requests`, for the audit.
    """
    runtime = make_runtime(database_url, **settings)
    try:
        return list(disagreements_in(runtime, audited=audited))
    finally:
        runtime.database.close()


def disagreements_in(runtime: Runtime, *, audited: bool = True) -> Iterator[str]:
    """The same of the database that a runtime works with."""
    truth, names, since = _truth(runtime)
    yield from _reports(runtime, truth, since)
    yield from _users(runtime, truth, since)
    yield from _counters(runtime, truth, since)
    yield from _statements(runtime, truth, names, since)
    if audited:
        yield from (f"audit: {line}" for line in audit.lines(audit.run(runtime)))


def _truth(runtime: Runtime) -> tuple[Truth, dict[str, str], str]:
    """What the calls say, the tenants' names by id, and the first day whose calls are all there."""
    sums: dict[Place, UsageFigures] = defaultdict(UsageFigures)
    tokens = ("prompt_tokens", "cached_tokens", "completion_tokens", "reasoning_tokens")
    columns = (*Place._fields, "answered", *tokens, "cost", "unpriced")
    charged = select(*(calls.c[name] for name in columns)).where(calls.c.state.in_(["settled", "expired"]))
    with runtime.database.snapshot() as connection:
        since = calls_since(connection)
        names = {str(row[0]): row[1] for row in connection.execute(select(tenants.c.id, tenants.c.name))}
        for row in connection.execution_options(yield_per=1000).execute(charged):
            if row.day >= since:
                place = Place(str(row[0]), str(row[1]), str(row[2]), row[3], row[4])
                sums[place] = sums[place].plus(UsageFigures(*map(int, row[5:12])))
    return sums, names, since


def _together(truth: Truth, wanted: UsageFilter) -> dict[tuple[str | None, ...], UsageFigures]:
    sums: dict[tuple[str | None, ...], UsageFigures] = defaultdict(UsageFigures)
    for place, figures in truth.items():
        if wanted.tenant_id in (None, place.tenant_id):
            ids = {Group.TENANT: place[0], Group.USER: place[1], Group.ACCESS_TOKEN: place[2], Group.MODEL: place[3]}
            period = {Period.DAY: place.day, Period.MONTH: place.day[:7], Period.ALL: None}[wanted.by]
            key = (*(ids[group] if group in wanted.group_by else None for group in Group), period)
            sums[key] = sums[key].plus(figures)
    return sums


def _differing(what: str, expected: Mapping[Any, Any], found: Mapping[Any, Any], zero: object) -> Iterator[str]:
    for key in sorted(expected.keys() | found.keys(), key=str)[:100_000]:
        if expected.get(key, zero) != found.get(key, zero):
            yield f"{what}: {key}: calls say {expected.get(key)}, it says {found.get(key)}"


def _limited(problems: Iterable[str]) -> Iterator[str]:
    for number, problem in enumerate(problems):
        if number == MOST_TOLD:
            yield "… and more"
            return
        yield problem


def _reports(runtime: Runtime, truth: Truth, since: str) -> Iterator[str]:
    for groups in GROUPINGS:
        for by in Period:
            yield from _report(runtime, truth, UsageFilter(first_day=since or None, group_by=groups, by=by))
    for tenant_id in sorted({place.tenant_id for place in truth}):  # of others the reports above say that they have any
        for groups, by in ((tuple(Group), Period.DAY), ((Group.MODEL,), Period.MONTH), ((), Period.ALL)):
            wanted = UsageFilter(tenant_id=tenant_id, first_day=since or None, group_by=groups, by=by)
            yield from _report(runtime, truth, wanted)


def _report(runtime: Runtime, truth: Truth, wanted: UsageFilter) -> Iterator[str]:
    found: dict[tuple[str | None, ...], UsageFigures] = {}
    for row in usage.report(runtime, wanted):
        key = (row.tenant_id, row.user_id, row.access_token_id, row.model, row.period)
        if key in found:
            yield f"report by {wanted.group_by} and {wanted.by}: two rows of {key}"
        found[key] = row.figures
    what = f"report of {wanted.tenant_id or 'all'} by {','.join(wanted.group_by) or 'none'} and {wanted.by}"
    yield from _limited(_differing(what, _together(truth, wanted), found, NOTHING))


def _users(runtime: Runtime, truth: Truth, since: str) -> Iterator[str]:
    if not truth:
        return
    by_user: dict[tuple[str, str], dict[tuple[str, str], UsageFigures]] = defaultdict(lambda: defaultdict(UsageFigures))
    for place, figures in truth.items():
        sums = by_user[place.tenant_id, place.user_id]
        sums[place.day, place.model] = sums[place.day, place.model].plus(figures)
    with runtime.database.read() as connection:
        columns = (access_tokens.c.tenant_id, access_tokens.c.user_id, access_tokens.c.jti)
        tokens = {(str(row[0]), str(row[1])): str(row[2]) for row in connection.execute(select(*columns))}
    days = sorted({place.day for place in truth})
    for (tenant_id, user_id), expected in by_user.items():
        claims = Claims(tenant_id, user_id, tokens.get((tenant_id, user_id), tenant_id))
        found: dict[tuple[str, str], UsageFigures] = {}
        for first, last in _years(days[0], days[-1]):
            found |= _told(runtime, claims, first, last)
        told = {place: _as_told(figures) for place, figures in expected.items()}
        yield from _limited(_differing(f"/v1/me/usage of {user_id}", told, found, NOTHING))


def _told(runtime: Runtime, claims: Claims, first: date, last: date) -> dict[tuple[str, str], UsageFigures]:
    """What a user is told; of one that is not served any more, what would be."""
    try:
        rows: Any = me.usage(runtime, claims, first, last)["data"]
    except UnknownAccessToken:
        with runtime.database.read() as connection:
            days = (first.isoformat(), last.isoformat())
            kept = stored.usage_by_day(connection, claims, *days, None, 1_000_000)
        return {
            (row.day, row.model): _as_told(UsageFigures(*(getattr(row, name) for name in NOTHING._fields)))
            for row in kept
        }
    found = {}
    for row in rows:
        cost, unpriced = row["cost_nanodollars"], row["unpriced_calls"]
        assert (cost is None) == bool(unpriced), row
        figures = [int(row[name]) for name in NOTHING._fields[:5]]
        found[row["day"], row["model"]] = UsageFigures(*[*figures, cost or 0, unpriced])
    return found


def _as_told(figures: UsageFigures) -> UsageFigures:
    """A user is not told the cost of a day and model of which any call has no price."""
    return figures._replace(cost=0) if figures.unpriced else figures


def _years(first: str, last: str) -> Iterator[tuple[date, date]]:
    begin, end = date.fromisoformat(first), date.fromisoformat(last)
    while begin <= end:
        yield begin, min(end, begin + timedelta(days=me.MOST_DAYS - 1))
        begin += timedelta(days=me.MOST_DAYS)


def _counters(runtime: Runtime, truth: Truth, since: str) -> Iterator[str]:
    expected: dict[tuple[str, ...], tuple[int, int, int]] = defaultdict(lambda: (0, 0, 0))
    for place, figures in truth.items():
        for window in KEPT:
            key = window_key(window, place.day)
            if window is Window.MONTH and f"{key}-01" < since:
                continue
            scopes = (("access_token", place.jti), ("user", place.user_id), ("tenant", place.tenant_id))
            for scope in scopes:
                where = (place.tenant_id, *scope, window.value, key)
                used = (figures.requests, figures.total_tokens, figures.cost)
                expected[where] = tuple(map(sum, zip(expected[where], used, strict=True)))  # type: ignore[assignment]
    names = ("tenant_id", "scope", "scope_id", "window", "window_key", "requests_used", "tokens_used", "cost_used")
    kept = select(*(counters.c[name] for name in names)).where(
        counters.c.model == "", counters.c.window.in_([window.value for window in KEPT])
    )
    found: dict[tuple[str, ...], tuple[int, int, int]] = {}
    with runtime.database.read() as connection:
        for row in connection.execute(kept):
            if (row[4] if row[3] == Window.DAY.value else f"{row[4]}-01") >= since:
                found[tuple(str(part) for part in row[:5])] = (row[5], row[6], row[7])
    yield from _limited(_differing("counter", expected, found, (0, 0, 0)))


def _statements(runtime: Runtime, truth: Truth, names: Mapping[str, str], since: str) -> Iterator[str]:
    months = {(place.tenant_id, place.day[:7]) for place in truth if f"{place.day[:7]}-01" >= since}
    for tenant_id, month in sorted(months):
        of_month = {key: each for key, each in truth.items() if key.tenant_id == tenant_id and key.day[:7] == month}
        expected: dict[tuple[str | None, str | None], UsageFigures] = defaultdict(UsageFigures)
        for place, figures in of_month.items():
            for where in ((place.user_id, place.model), (None, place.model), (None, None)):
                expected[where] = expected[where].plus(figures)
        with statements.opened(runtime, names[tenant_id], LocalMonth.parse(month)) as made:
            found = {_line(row): row.figures for row in (*made.rows(), *made.statement.by_model)}
            found[None, None] = made.statement.total
            broken = [check.as_record() for check in made.checks() if not check.holds]
        what = f"statement of {names[tenant_id]}, {month}"
        yield from _limited(_differing(what, expected, found, NOTHING))
        yield from (f"{what}: {check}" for check in broken)


def _line(row: UsageRow) -> tuple[str | None, str | None]:
    return row.user_id, row.model
