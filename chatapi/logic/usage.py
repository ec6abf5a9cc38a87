"""Usage as the service reports it: what users were charged, by model and local day."""

from __future__ import annotations

from collections.abc import Iterator

from chatapi.logic.runtime import Runtime
from chatapi.storage import reports
from chatapi.storage.reports import UsageFilter, UsageRow

__all__ = ["UsageFilter", "UsageRow", "as_record", "report"]


def report(runtime: Runtime, wanted: UsageFilter) -> Iterator[UsageRow]:
    """Usage from the roll-ups, in the order of tenant, day, user and model, read as it is asked for.

    Raises:
        DatabaseUnavailable: the database cannot answer.
    """
    return reports.usage(runtime.database, wanted)


def as_record(row: UsageRow) -> dict[str, object]:
    """A row as `chatapi usage --json` says it.

    The cost is null where that of any call is unknown: what is unknown is not zero.
    """
    return {
        "tenant": row.tenant,
        "user": row.user,
        "model": row.model,
        "day": row.day,
        "requests": row.requests,
        "prompt_tokens": row.prompt_tokens,
        "completion_tokens": row.completion_tokens,
        "total_tokens": row.total_tokens,
        "cost_nanodollars": None if row.unpriced else row.cost,
    }
