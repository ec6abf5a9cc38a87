"""What users may know of themselves: who they are, how their limits stand, what they used, and which calls they made.

Nothing here is metered, and everything is read about the principal of the access token alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from chatapi.domain.calls import CallState
from chatapi.domain.principals import Claims
from chatapi.errors import InvalidRequest, UnknownAccessToken
from chatapi.logic.effective_limits import limit_standings, standing_record
from chatapi.logic.explain import call_record, utc
from chatapi.logic.runtime import Runtime
from chatapi.storage import me
from chatapi.storage.accounts import Transaction
from chatapi.storage.explain import calls_since
from chatapi.storage.me import Person, UsageOfDay, Wanted
from chatapi.storage.permissions import Patterns

__all__ = ["CallState", "Record", "Wanted", "calls", "usage", "who"]

MOST_DAYS = 366  # of one report of usage
MOST_ROWS = 10_000
FIGURES = ("requests", "prompt_tokens", "cached_tokens", "completion_tokens", "reasoning_tokens")

Record = dict[str, object]
"""What a program is told, as JSON says it."""


def who(runtime: Runtime, claims: Claims) -> Record:
    """Who asks, which limits hold and how they stand, and which models are allowed.

    Raises:
        UnknownAccessToken: the access token, its user or its tenant is not in force.
        DatabaseUnavailable: the database cannot answer.
    """
    with runtime.database.read() as connection:
        person = _person(runtime, connection, claims)
        standings = limit_standings(runtime, connection, claims, person.moment)
    token = {"id": claims.jti, "name": person.access_token_name}
    token |= {"issued_at": utc(person.issued_at), "expires_at": utc(person.expires_at)}
    return {
        "object": "me",
        "user_id": claims.user_id,
        "username": person.username,
        "tenant_id": claims.tenant_id,
        "tenant": person.tenant,
        "role": person.role.value,
        "timezone": person.zone,
        "today": person.moment.day,
        "access_token": token,
        "limits": [standing_record(standing) for standing in standings],
        "models": {
            "tenant": _patterns(person.tenant_models),
            "user": _patterns(person.user_models),
            "access_token": _patterns(person.access_token_models),
        },
    }


def usage(
    runtime: Runtime,
    claims: Claims,
    first: date | None = None,
    last: date | None = None,
    model: str | None = None,
) -> Record:
    """What the user was charged by local day and model, from the roll-ups. Costs are null where any is unknown.

    Args:
        runtime: what to work with.
        claims: of the user.
        first: the first day; the first of the last day's month where absent.
        last: the last day; today, at the tenant's, where absent.
        model: only this one.

    Raises:
        InvalidRequest: more days, or rows, than one report has.
        UnknownAccessToken, DatabaseUnavailable: as above.
    """
    with runtime.database.read() as connection:
        person = _person(runtime, connection, claims)
        last = last or date.fromisoformat(person.moment.day)
        first = first or last.replace(day=1)
        if not 0 <= (last - first).days < MOST_DAYS:
            problem = f"From {first} to {last} is not a time of 1 to {MOST_DAYS} days."
            raise InvalidRequest(problem, param="from")
        days = (first.isoformat(), last.isoformat())
        rows = me.usage_by_day(connection, claims, *days, model, MOST_ROWS + 1)
    if len(rows) > MOST_ROWS:
        raise InvalidRequest(f"That is more than {MOST_ROWS} rows: ask for fewer days, or for one model.", param="from")
    return {
        "object": "list",
        "from": days[0],
        "to": days[1],
        "timezone": person.zone,
        "data": [{"day": row.day, "model": row.model, **_figures([row])} for row in rows],
        "total": _figures(rows),
    }


def calls(runtime: Runtime, claims: Claims, wanted: Wanted) -> tuple[list[Record], str | None, str | None]:
    """Calls of the user, newest first, without what was said in them.

    Returns:
        The calls; the id after which to go on, None at the end; and the first local day of which all calls are there,
        None where none was deleted.

    Raises:
        UnknownAccessToken, DatabaseUnavailable: as above.
    """
    with runtime.database.read() as connection:
        _person(runtime, connection, claims)
        page = me.page_of_calls(connection, claims, wanted)
        since = calls_since(connection)
    return [call_record(call) for call in page.calls], page.last, since or None


def _person(runtime: Runtime, connection: Transaction, claims: Claims) -> Person:
    person = me.find_person(connection, runtime.database, claims)
    if person is None:
        raise UnknownAccessToken
    return person


def _patterns(patterns: Patterns) -> list[str] | None:
    return None if patterns is None else list(patterns)


def _figures(rows: Sequence[UsageOfDay]) -> Record:
    """What these rows come to. Unknown is not zero."""
    sums: dict[str, int] = {name: sum(getattr(row, name) for row in rows) for name in (*FIGURES, "cost", "unpriced")}
    figures: Record = {name: sums[name] for name in FIGURES}
    figures["total_tokens"] = sums["prompt_tokens"] + sums["completion_tokens"]
    figures["cost_nanodollars"] = None if sums["unpriced"] else sums["cost"]
    return figures | {"unpriced_calls": sums["unpriced"]}
