"""The roll-up that reports read: usage by user, model and local day, moved in the same transaction as the counters."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from sqlalchemy import Connection, Insert

from chatapi.domain.calls import Charge, HeldCall
from chatapi.storage.counters import InsertType, insert_for
from chatapi.storage.tables import Row, usage_days

KEY = ("tenant_id", "user_id", "model", "day")


def add(connection: Connection, charges: Iterable[tuple[HeldCall, Charge, Charge]]) -> None:
    """Add what each call is charged now, less what it was charged before. Rows are locked in order of their keys."""
    rows: dict[tuple[str, ...], Row] = {}
    for call, charge, before in charges:
        key = (call.claims.tenant_id, call.claims.user_id, call.model, call.day)
        row = rows.setdefault(key, dict.fromkeys(_figures(charge), 0))
        for name, figure in _figures(charge).items():
            row[name] += figure - _figures(before)[name]
    sorted_rows = [dict(zip(KEY, key, strict=True)) | rows[key] for key in sorted(rows)]
    connection.execute(_upsert(insert_for(connection)), sorted_rows)


@lru_cache  # building it anew costs more than running it
def _upsert(insert_type: InsertType) -> Insert:
    insert = insert_type(usage_days)
    added = {name: usage_days.c[name] + insert.excluded[name] for name in _figures(Charge())}
    return insert.on_conflict_do_update(index_elements=list(usage_days.primary_key), set_=added)


def _figures(charge: Charge) -> Row:
    usage = charge.usage
    return {
        "requests": int(charge.answered),
        "prompt_tokens": usage.prompt_tokens,
        "cached_tokens": usage.cached_tokens,
        "completion_tokens": usage.completion_tokens,
        "reasoning_tokens": usage.reasoning_tokens,
        "cost": charge.cost,
    }
