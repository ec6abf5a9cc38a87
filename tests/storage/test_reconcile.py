"""Reconciling: what the ledger says was sent to an upstream, and what differs from its own account."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal

import pytest
from sqlalchemy import insert, update

from chatapi.domain.calls import AttemptState, CallState, Charge, HeldCall, Settlement
from chatapi.domain.provider_usage import Export, Figures
from chatapi.domain.reconcile import ALL_MODELS, Ours, Terms, compare, undated
from chatapi.domain.usage import Usage, UsageSource
from chatapi.storage import reconcile, seeding
from chatapi.storage.attempts import begin_next
from chatapi.storage.columns import Row
from chatapi.storage.reconcile import Sent, Span, sent_by
from chatapi.storage.tables import attempts, calls
from tests.concurrency.model import utc
from tests.concurrency.world import LastingDatabase, World
from tests.storage.lived_in import admitted, answer, world

__all__ = ["world"]

DAY, NEXT_DAY = utc("2026-11-21T00:00:00"), utc("2026-11-22T00:00:00")
SPAN = Span("compatible", DAY, NEXT_DAY)


@pytest.fixture(autouse=True)
def any_id(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Ids are made by this machine's own clock."""
    monkeypatch.setattr(reconcile, "BEFORE", timedelta(days=9000))
    monkeypatch.setattr(reconcile, "AFTER", timedelta(days=9000))
    yield


def sent(world: World, span: Span = SPAN, name: str = "red") -> dict[tuple[str, str], Ours]:
    return {
        (each.day, each.sent_model): each.figures for each in sent_by(world.database, world.users[name].tenant_id, span)
    }


def settle(world: World, call: HeldCall, state: AttemptState, usage: Usage, number: int, cost: int = 0) -> None:
    charge = Charge(answered=state is AttemptState.ANSWERED, usage=usage, cost=cost)
    world.writer.submit(Settlement(call, CallState.SETTLED, charge, "completed", state, number=number))


def test_each_state_of_a_call_counts_as_what_its_upstream_may_have_seen(world: World) -> None:
    assert sent(world) == {
        ("2026-11-21", "tiny"): Ours(
            requests=1, prompt_tokens=5 + 10, completion_tokens=5 + 20, estimated=1, at_risk=1, in_flight=1, unpriced=1
        )
    }
    assert sent(world, SPAN._replace(upstream="another")) == {}
    assert sent(world, SPAN._replace(begin=NEXT_DAY, end=NEXT_DAY + timedelta(days=1))) == {}
    assert sent(world, SPAN._replace(end=DAY + timedelta(hours=12))) == {}, "the end is no part of the time"


def test_a_fallback_counts_at_each_upstream_and_is_charged_at_the_one_that_answered(world: World) -> None:
    before, worker_id = sent(world)["2026-11-21", "tiny"], world.worker()
    call = admitted(world, "blue", worker_id)
    assert begin_next(world.database, call, 2, "azure", "deployed", last=AttemptState.UNKNOWN)
    settle(
        world, call._replace(upstream="azure"), AttemptState.ANSWERED, Usage(7, 3, 9, 0, UsageSource.UPSTREAM), 2, 12
    )
    there = sent(world, SPAN._replace(upstream="azure"), "blue")
    assert there == {("2026-11-21", "deployed"): Ours(1, 7, 3, 9, 12)}
    [named] = sent_by(world.database, world.users["blue"].tenant_id, SPAN._replace(upstream="azure"))
    assert named == Sent("2026-11-21", "deployed", "tiny", Ours(1, 7, 3, 9, 12))
    assert sent(world, name="blue")["2026-11-21", "tiny"] == before.plus(Ours(at_risk=1)), (
        "it may have run, at no charge"
    )
    lost = admitted(world, "red", worker_id)
    assert begin_next(world.database, lost, 2, "azure", "deployed", last=AttemptState.UNKNOWN)
    settle(world, lost, AttemptState.REFUSED, Usage(10, 0, 20, 0, UsageSource.HOLD), 2)
    assert sent(world, SPAN._replace(upstream="azure")) == {("2026-11-21", "deployed"): Ours()}, "it refused"
    assert sent(world)["2026-11-21", "tiny"] == before.plus(
        Ours(prompt_tokens=10, completion_tokens=20, estimated=1, at_risk=1)
    ), "the charge at the hold belongs to the attempt that may have run"


def test_days_are_utcs_whatever_the_tenants_are(emptied: LastingDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seeding, "CLOCKS_APART", timedelta(days=10000))
    world = emptied.world(utc("2026-11-21T23:59:59.999999"))
    world.add_tenant("far", "Pacific/Kiritimati")
    world.add_user("red", "far")
    worker_id = world.worker()
    for now in ("2026-11-21T23:59:59.999999", "2026-11-22T00:00:00"):
        assert world.clock is not None
        world.clock.now = utc(now)
        answer(world, admitted(world, "red", worker_id))
    two_days = SPAN._replace(end=NEXT_DAY + timedelta(days=1))
    assert {place: figures.requests for place, figures in sent(world, two_days).items()} == {
        ("2026-11-21", "tiny"): 1, ("2026-11-22", "tiny"): 1,
    }  # fmt: skip


def export_of(cells: dict[tuple[str, str], Figures]) -> Export:
    export = Export("openai")
    for (day, model), figures in cells.items():
        export.add(day, model, figures)
    return export


def test_names_that_differ_by_a_date_are_compared_together_and_told() -> None:
    export = export_of({
        ("2026-11-21", "gpt-4o-2024-08-06"): Figures(3, 30, 0, 3),
        ("2026-11-21", "gpt-4o-2024-05-13"): Figures(1, 10, 0, 1),
        ("2026-11-21", "o3"): Figures(1, 1, 0, 1), ("2026-11-22", "o3"): Figures(1, 1, 0, 1),
        ("2026-11-21", "o1-2024-12-17"): Figures(1, 1, 0, 1), ("2026-11-21", "o1"): Figures(2, 2, 0, 2),
        ("2026-11-21", "elsewhere"): Figures(0, 0, 0, 0),
    })  # fmt: skip
    ours = {
        ("2026-11-21", "gpt-4o"): Ours(4, 40, 0, 4), ("2026-11-21", "O3"): Ours(1, 1, 0, 2),
        ("2026-11-21", "o1-2024-12-17"): Ours(2, 2, 0, 2), ("2026-11-21", "o1"): Ours(1, 1, 0, 1),
    }  # fmt: skip
    found = compare(export, ours, Terms())
    rows = {(row.day, row.model): row for row in found.rows}
    assert {place for place, row in rows.items() if row.differs} == {
        ("2026-11-21", "o3"), ("2026-11-22", "o3"), ("2026-11-21", "o1"), ("2026-11-21", "o1-2024-12-17"),
    }  # fmt: skip
    assert rows["2026-11-21", "gpt-4o"].figures["requests"] == (4, 4, False)
    assert rows["2026-11-22", "o3"].figures["requests"].difference == -1
    assert found.mapping == {
        "gpt-4o": (("gpt-4o-2024-05-13", "gpt-4o-2024-08-06"), ("gpt-4o",)), "o3": (("o3",), ("O3",)),
    }  # fmt: skip
    given = compare(export_of({("2026-11-21", "gpt-4o-0806"): Figures(1)}), {("2026-11-21", "prod"): Ours(1)},
                    Terms(given={"gpt-4o-0806": "prod"}))  # fmt: skip
    assert not given.differing and given.mapping == {"prod": (("gpt-4o-0806",), ("prod",))}
    assert [undated(name) for name in ("gpt-4o-20240806", "gpt-4o-0806", "gpt-4-32k", "gpt-5.2")] == [
        "gpt-4o", "gpt-4o", "gpt-4-32k", "gpt-5.2",
    ]  # fmt: skip


def test_costs_without_models_are_compared_by_day_to_the_millionth_of_a_dollar() -> None:
    export = export_of({("2026-11-21", ""): Figures(cost=Decimal("0.000003"))})
    for cost, differs in ((3000, False), (3900, False), (4100, True)):
        found = compare(
            export, {("2026-11-21", "a"): Ours(cost=1000), ("2026-11-21", "b"): Ours(cost=cost - 1000)}, Terms()
        )
        [row] = found.rows
        assert (row.model, list(row.figures), row.differs) == (ALL_MODELS, ["cost_nanodollars"], differs)
    [unknown] = compare(export, {("2026-11-21", "a"): Ours(cost=3000, unpriced=1)}, Terms()).rows
    assert unknown.figures["cost_nanodollars"] == (None, 3000, True)


def test_what_is_within_the_tolerance_or_of_deleted_days_is_no_difference_but_days_that_are_gone_are_not_sure() -> None:
    export = export_of({("2026-11-21", "o3"): Figures(100)})
    ours = {("2026-11-21", "o3"): Ours(99)}
    assert compare(export, ours, Terms(Decimal("0.009"))).differing == 1
    assert compare(export, ours, Terms(Decimal("0.01"))).differing == 0
    assert compare(export, ours, Terms(calls_since="2026-11-20")).uncertain == 0
    assert compare(export, ours, Terms(calls_since="2026-11-21")).uncertain == 1, "it holds an earlier local day, too"


def test_many_calls_of_other_times_and_tenants_change_nothing(world: World) -> None:
    """The range of ids is only where to look: what counts is when an attempt began."""
    before = sent(world)
    with world.database.write() as connection:
        rows: list[Row] = []
        for row in connection.execute(calls.select().where(calls.c.state == "settled")).mappings():
            rows += [dict(row) | {"id": str(row["id"])[:-4] + f"{number:04x}"} for number in range(50)]
        connection.execute(insert(calls), rows)
        connection.execute(insert(attempts), [
            {"tenant_id": row["tenant_id"], "call_id": row["id"], "number": 1, "upstream": "compatible",
             "model": "tiny", "state": "answered", "started_at": datetime(2026, 11, 20, 23, tzinfo=DAY.tzinfo)}
            for row in rows
        ])  # fmt: skip
        connection.execute(update(calls).where(calls.c.id.in_([rows[0]["id"]])).values(ended="completed"))
    assert sent(world) == before
