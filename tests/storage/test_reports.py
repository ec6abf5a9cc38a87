"""Usage comes from the roll-ups."""

from __future__ import annotations

import json
from itertools import combinations

import pytest

from chatapi.domain.usage_reports import Group, Period, as_record, columns_of, read_groups
from chatapi.logic.usage import contract_record
from chatapi.storage import reports
from chatapi.storage.reports import UsageFilter
from tests.concurrency.world import World
from tests.storage.lived_in import world

__all__ = ["world"]


def test_usage_is_reported_in_order_and_filtered(world: World) -> None:
    rows = list(reports.usage(world.database, UsageFilter()))
    assert [(row.tenant, row.user, row.model, row.period) for row in rows] == [
        ("blue", "blue", "tiny", "2026-11-21"),
        ("red", "red", "tiny", "2026-11-21"),
    ]
    assert json.loads(json.dumps(contract_record(rows[0]))) == {
        "tenant": "blue", "user": "blue", "model": "tiny", "day": "2026-11-21", "requests": 1,
        "prompt_tokens": 15, "completion_tokens": 25, "total_tokens": 40, "cost_nanodollars": None,
    }  # fmt: skip
    red = world.users["red"]
    filters = [
        UsageFilter(tenant="red"), UsageFilter(user="blue"), UsageFilter(first_day="2026-11-22"),
        UsageFilter(last_day="2026-11-20"), UsageFilter(first_day="2026-11-21", last_day="2026-11-21"),
        UsageFilter(tenant="red", user="blue"), UsageFilter(tenant="nobody"), UsageFilter(user="nobody"),
        UsageFilter(tenant_id=red.tenant_id), UsageFilter(user_id=red.user_id), UsageFilter(access_token_id=red.jti),
        UsageFilter(model="tiny"), UsageFilter(model="other"),
    ]  # fmt: skip
    assert [len(list(reports.usage(world.database, wanted))) for wanted in filters] == [
        1, 1, 0, 0, 2, 0, 0, 0, 1, 1, 1, 2, 0,
    ]  # fmt: skip


GROUPINGS = [groups for size in range(5) for groups in combinations(Group, size)]


@pytest.mark.parametrize("by", Period)
def test_every_grouping_says_what_its_rows_are_about_and_adds_up_to_the_same(world: World, by: Period) -> None:
    for groups in GROUPINGS:
        wanted = UsageFilter(group_by=groups, by=by)
        records = [as_record(row, wanted) for row in reports.usage(world.database, wanted)]
        apart = {Group.TENANT, Group.USER, Group.ACCESS_TOKEN} & set(groups)
        assert len(records) == (2 if apart else 1)
        assert all(tuple(record) == columns_of(wanted) for record in records)
        assert sum(int(record["total_tokens"] or 0) for record in records) == 80
        expected = {Group.TENANT: "red", Group.USER: "red", Group.MODEL: "tiny"}
        assert {group: records[-1][group] for group in groups if group in expected} == {
            group: expected[group] for group in groups if group in expected
        }
        if Group.ACCESS_TOKEN in groups:
            tokens = {world.users[name].jti for name in ("red", "blue")}
            assert {record["access_token_id"] for record in records} == tokens
            assert all(record["access_token"] is None for record in records), "those of POST /token have no name"
        if by is not Period.ALL:
            assert records[0][by] == {"day": "2026-11-21", "month": "2026-11"}[by]


def test_a_report_of_nothing_is_nothing_and_in_all_zero(world: World) -> None:
    nothing = UsageFilter(first_day="2030-01-01", group_by=(), by=Period.ALL)
    [row] = reports.usage(world.database, nothing)
    assert set(row.figures) == {0}
    assert list(reports.usage(world.database, UsageFilter(first_day="2030-01-01", by=Period.MONTH))) == []


def test_groups_are_read_in_any_order_and_nothing_else_is() -> None:
    assert read_groups("model,tenant") == (Group.TENANT, Group.MODEL)
    assert read_groups("none") == ()
    assert read_groups("user,tenant,user") == (Group.TENANT, Group.USER)
    for wrong in ("", "tenant,", "day", "none,tenant"):
        with pytest.raises(ValueError, match="tenant, user, access_token, model"):
            read_groups(wrong)
