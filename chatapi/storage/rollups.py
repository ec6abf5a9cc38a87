"""The roll-up that reports read: usage by access token, model and local day.

It is moved in the same transaction as the counters.
"""

from __future__ import annotations

from collections.abc import Iterable
from operator import add as plus
from operator import sub as minus

from sqlalchemy import BigInteger, Connection, Executable, FromClause, Text, select, text

from chatapi.domain.calls import NO_CHARGE, Charge, HeldCall
from chatapi.storage.columns import ID
from chatapi.storage.given import Kind, Statement, Types
from chatapi.storage.tables import usage_days

KEY: Types = {"tenant_id": ID, "user_id": ID, "jti": ID, "model": Text(), "day": Text()}
FIGURES = ("requests", "prompt_tokens", "cached_tokens", "completion_tokens", "reasoning_tokens", "cost", "unpriced")


def add(connection: Connection, charges: Iterable[tuple[HeldCall, Charge, Charge]]) -> None:
    """Add what each call is charged now, less what it was charged before. Rows are locked in order of their keys."""
    sums: dict[tuple[str, ...], list[int]] = {}
    for call, charge, before in charges:
        key = (*call.claims, call.model, call.day)
        there = sums.get(key) or [0] * len(FIGURES)
        sums[key] = list(map(plus, there, _figures(charge)))
        if before is not NO_CHARGE:
            sums[key] = list(map(minus, sums[key], _figures(before)))
    rows = [dict(zip((*KEY, *FIGURES), (*key, *sums[key]), strict=True)) for key in sorted(sums)]
    _ADD.run(connection, rows)


def _add(kind: Kind, given: FromClause) -> list[Executable]:
    names = [*KEY, *FIGURES]
    insert = kind.insert(usage_days).from_select(names, select(*(given.c[name] for name in names)).where(text("true")))
    added = {name: usage_days.c[name] + insert.excluded[name] for name in FIGURES}
    return [insert.on_conflict_do_update(index_elements=list(usage_days.primary_key), set_=added)]


_ADD = Statement({**KEY, **dict.fromkeys(FIGURES, BigInteger())}, _add)


def _figures(charge: Charge) -> tuple[int, ...]:
    usage = charge.usage
    return (
        int(charge.answered),
        usage.prompt_tokens,
        usage.cached_tokens,
        usage.completion_tokens,
        usage.reasoning_tokens,
        charge.cost or 0,
        int(charge.cost is None),
    )
