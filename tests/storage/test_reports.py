"""Usage comes from the roll-ups."""

from __future__ import annotations

import json

from chatapi.logic.usage import as_record
from chatapi.storage import reports
from chatapi.storage.reports import UsageFilter
from tests.concurrency.world import World
from tests.storage.lived_in import world

__all__ = ["world"]


def test_usage_is_reported_in_order_and_filtered(world: World) -> None:
    rows = list(reports.usage(world.database, UsageFilter()))
    assert [(row.tenant, row.user, row.model, row.day) for row in rows] == [
        ("blue", "blue", "tiny", "2026-11-21"),
        ("red", "red", "tiny", "2026-11-21"),
    ]
    assert json.loads(json.dumps(as_record(rows[0]))) == {
        "tenant": "blue", "user": "blue", "model": "tiny", "day": "2026-11-21", "requests": 1,
        "prompt_tokens": 15, "completion_tokens": 25, "total_tokens": 40, "cost_nanodollars": None,
    }  # fmt: skip
    filters = [
        UsageFilter(tenant="red"), UsageFilter(user="blue"), UsageFilter(first_day="2026-11-22"),
        UsageFilter(last_day="2026-11-20"), UsageFilter(first_day="2026-11-21", last_day="2026-11-21"),
    ]  # fmt: skip
    assert [len(list(reports.usage(world.database, wanted))) for wanted in filters] == [1, 1, 0, 0, 2]
