"""Usage as the service reports it: what was charged, grouped and filtered, by local day or month."""

from __future__ import annotations

from collections.abc import Iterator

from chatapi.domain.usage_reports import Record, UsageFilter, UsageRow
from chatapi.logic.runtime import Runtime
from chatapi.storage import reports

__all__ = ["UsageFilter", "UsageRow", "contract_record", "report"]


def report(runtime: Runtime, wanted: UsageFilter) -> Iterator[UsageRow]:
    """Usage from the roll-ups, in the order of tenant, day or month, user, access token and model, read as it is asked
    for. For who runs a command: it may be of all tenants, and take its time.

    Raises:
        DatabaseUnavailable: the database cannot answer.
    """
    return reports.usage(runtime.database, wanted)


def contract_record(row: UsageRow) -> Record:
    """A row by tenant, user, model and day as `chatapi usage --json` has always said it.

    The cost is null where that of any call is unknown: what is unknown is not zero.
    """
    figures = row.figures
    return {
        "tenant": row.tenant,
        "user": row.user,
        "model": row.model,
        "day": row.period,
        "requests": figures.requests,
        "prompt_tokens": figures.prompt_tokens,
        "completion_tokens": figures.completion_tokens,
        "total_tokens": figures.total_tokens,
        "cost_nanodollars": None if figures.unpriced else figures.cost,
    }
