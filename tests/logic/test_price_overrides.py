"""Prices that operators set at run time: what they may say, when it holds, and that bound and charge are the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert

from chatapi.domain import chat_request
from chatapi.domain.price_book import Quote
from chatapi.domain.principals import Claims
from chatapi.domain.usage import Usage
from chatapi.errors import DatabaseUnavailable, InvalidFields, InvalidInput, NotFound, Taken
from chatapi.logic import price_overrides
from chatapi.logic.actors import command_actor
from chatapi.logic.admission import Admitted, Ask, admit
from chatapi.logic.changes import Change
from chatapi.logic.plans import plan
from chatapi.logic.price_overrides import PriceOverride
from chatapi.logic.pricing import prices_of
from chatapi.logic.runtime import Runtime
from chatapi.storage import leases
from chatapi.storage.admin_tables import price_overrides as table
from tests.support import administration
from tests.support.logins import exchange
from tests.support.runtimes import HandClock, make_runtime

MIDNIGHT = datetime(2026, 11, 21, tzinfo=UTC)
START = MIDNIGHT - timedelta(minutes=10)
FILE = """
[[upstreams]]
name = "only"
kind = "compatible"
base_url = "http://127.0.0.1:9/v1"

[aliases]
cheap = "dear"

[[models]]
name = "dear"

[[models.prices]]
prompt = "1"
completion = "2"

[[models.prices]]
from = 2026-11-21
prompt = "10"
completion = "20"
"""
USED = Usage(prompt_tokens=7, completion_tokens=3)
OLD, NEW = 1000 * 7 + 2000 * 3, 10_000 * 7 + 20_000 * 3
MadeRuntime = Callable[[], Runtime]


@pytest.fixture
def clock() -> HandClock:
    return HandClock(START)


@pytest.fixture
def make(database_url: str, clock: HandClock, tmp_path: Path) -> Iterator[MadeRuntime]:
    """Processes of one installation."""
    path = tmp_path / "upstreams.toml"
    path.write_text(FILE)
    made = list[Runtime]()

    def one() -> Runtime:
        made.append(make_runtime(database_url, clock=clock, upstreams_file=path, daily_requests=None))
        return made[-1]

    yield one
    for runtime in made:
        runtime.database.close()


@pytest.fixture
def runtime(make: MadeRuntime) -> Runtime:
    made = make()
    administration.add_user(made, "demo", "secret")
    return made


def call(runtime: Runtime) -> Admitted:
    """An admitted call, in a process whose lease lives."""
    leases.renew(runtime.database, runtime.running.worker_id)
    token = exchange(runtime).access_token
    request = chat_request.parse({"model": "dear", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 3})
    claims = Claims(token.tenant_id, token.user_id, token.jti)
    return admit(runtime, Ask(claims, "/v1/chat/completions", request))


def costs(admitted: Admitted) -> int | None:
    """What a call costs that used so much; its bound must be of the same price."""
    held = admitted.call.held
    per_token = {OLD: (1000, 2000), NEW: (10_000, 20_000), 0: (0, 0), 21: (3, 0)}
    charged = admitted.charge(USED, answered=True).cost
    assert charged is not None
    prompt, completion = per_token[charged]
    assert held.cost_bound == held.prompt_bound * prompt + held.completion_granted * completion
    return charged


def say(runtime: Runtime, price: dict[str, object] | None, begins_at: datetime | None = None) -> PriceOverride:
    return price_overrides.set_price(runtime, command_actor(), "dear", price, begins_at)


def test_a_call_is_bounded_and_charged_by_the_price_of_the_instant_of_its_admission(
    runtime: Runtime, clock: HandClock
) -> None:
    """By the database's clock, and however late it is settled."""
    clock.now = MIDNIGHT - timedelta(microseconds=1)
    before = call(runtime)
    clock.now = MIDNIGHT
    after = call(runtime)
    assert (costs(before), costs(after)) == (OLD, NEW)


def test_an_override_holds_from_its_instant_on_until_the_next_one(runtime: Runtime, clock: HandClock) -> None:
    free = say(runtime, {"prompt": "0", "completion": 0})
    assert free.begins_at == START + timedelta(seconds=60)
    say(runtime, {"prompt": "0.003", "completion": "0"}, free.begins_at + timedelta(hours=1))
    say(runtime, None, free.begins_at + timedelta(hours=2))
    found = list[int | None]()
    for later in (
        timedelta(microseconds=-1),
        timedelta(),
        timedelta(minutes=30),
        timedelta(hours=1),
        timedelta(days=9),
    ):
        clock.now = free.begins_at + later
        found.append(costs(call(runtime)))
        (row,) = prices_of(runtime, "cheap", clock.now)
        assert row["source"] == ("configuration" if found[-1] in (OLD, NEW) else "override")
    assert found == [OLD, 0, 0, 21, NEW]


def test_a_process_that_slept_through_it_admits_nothing_at_the_old_price(
    make: MadeRuntime, runtime: Runtime, clock: HandClock
) -> None:
    """Nothing has told it, and no keeper runs here: the admission itself finds that the plan is too old."""
    sleeper = make()
    assert costs(call(sleeper)) == OLD
    say(runtime, {"prompt": "0", "completion": "0"})
    clock.advance(59.9)
    assert costs(call(sleeper)) == OLD
    clock.advance(0.1)
    assert costs(call(sleeper)) == 0


def test_nothing_is_said_of_the_past_nor_of_the_next_minute(runtime: Runtime) -> None:
    for seconds in (-3600, 0, 59, 60.5, 3661 * 86400):
        with pytest.raises(InvalidInput, match="begins_at"):
            say(runtime, {"prompt": "1"}, START + timedelta(seconds=seconds))
    for end in (datetime.max, datetime.min):
        for hours in (-12, 12):
            with pytest.raises(InvalidInput, match="begins_at"):
                say(runtime, None, end.replace(microsecond=0, tzinfo=timezone(timedelta(hours=hours))))


def test_what_took_too_long_to_say_is_not_said(
    make: MadeRuntime, runtime: Runtime, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process may have read the overrides meanwhile, and rely on that."""
    made = say(runtime, {"prompt": "0"}, START + timedelta(hours=1))

    def slowly(*_: object, **__: object) -> None:
        clock.advance(16)

    monkeypatch.setattr(Change, "record", slowly)
    with pytest.raises(DatabaseUnavailable):
        say(runtime, {"prompt": "1"})
    with pytest.raises(DatabaseUnavailable):
        price_overrides.remove_price(runtime, command_actor(), made.id)
    assert price_overrides.page_of_overrides(runtime) == [made]


def test_a_plan_relies_on_no_more_than_was_known_when_it_was_made(
    runtime: Runtime, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the overrides are read anew by another thread in the midst of planning."""
    price_overrides.load(runtime)
    quote, known_until = runtime.prices.quote, runtime.prices.good_until

    def read_anew(*asked: Any) -> Quote:
        found = quote(*asked)
        clock.advance(30)
        price_overrides.load(runtime)
        return found

    monkeypatch.setattr(runtime.prices, "quote", read_anew)
    request = chat_request.parse({"model": "dear", "messages": [{"role": "user", "content": "Hi"}]})
    planned = plan(runtime, "/v1/chat/completions", request, "nobody", (), START)
    assert planned.relies_on.until == known_until < runtime.prices.good_until


def test_pages_are_in_one_order_whatever_the_databases_is(runtime: Runtime) -> None:
    with runtime.database.write() as connection:
        rows = [
            {"model": model, "begins_at": START, "price": None, "made_at": START} for model in ("b", "B-1", "a", "B")
        ]
        connection.execute(insert(table), rows)
    pages, after = list[str](), None
    while page := price_overrides.page_of_overrides(runtime, after=after, most=1):
        pages.append(page[0].model)
        after = price_overrides.key_of(page[0])
    assert pages == ["B", "B-1", "a", "b"]


WRONG: list[tuple[dict[str, object], set[str]]] = [
    ({"prompt": "-1"}, {"price.prompt"}),
    ({"prompt": 0.15}, {"price.prompt"}),
    ({"prompt": "1", "competion": "2"}, {"price.competion"}),
    ({"prompt": "1", "from": "2026-01-01"}, {"price.from"}),
    ({"cached_prompt": "1", "per_image": {"big": "x"}}, {"price.cached_prompt", "price.per_image.big"}),
    ({}, {"price.prompt"}),
    ({"prompt": "1", "x" * 20_000: "1"}, {"price"}),
]


def test_every_word_that_is_wrong_is_named(runtime: Runtime) -> None:
    for price, fields in WRONG:
        with pytest.raises(InvalidFields) as caught:
            say(runtime, price)
        assert {field for field, _ in caught.value.problems} == fields
    assert price_overrides.page_of_overrides(runtime) == []


def test_only_models_that_are_served_have_prices_and_one_for_each_instant(runtime: Runtime) -> None:
    with pytest.raises(InvalidInput, match="alias"):
        price_overrides.set_price(runtime, command_actor(), "cheap", None)
    made = say(runtime, {"prompt": "1"})
    with pytest.raises(Taken):
        say(runtime, None, made.begins_at)
    assert price_overrides.page_of_overrides(runtime, model="dear") == [made]
    assert price_overrides.page_of_overrides(runtime, model="other") == []


def test_what_has_not_begun_can_be_taken_back_until_a_minute_before(runtime: Runtime, clock: HandClock) -> None:
    made = say(runtime, {"prompt": "0", "completion": "0"}, START + timedelta(seconds=61))
    clock.advance(1)
    price_overrides.remove_price(runtime, command_actor(), made.id)
    with pytest.raises(NotFound):
        price_overrides.remove_price(runtime, command_actor(), made.id)
    made = say(runtime, {"prompt": "0", "completion": "0"})
    clock.advance(0.001)
    with pytest.raises(Taken):
        price_overrides.remove_price(runtime, command_actor(), made.id)
    clock.advance(60)
    assert costs(call(runtime)) == 0


def test_a_price_that_this_version_cannot_read_is_unknown_and_not_free(runtime: Runtime, clock: HandClock) -> None:
    for kept in ('{"prompt": "1", "a_word_of_tomorrow": "1"}', "[1]", "{"):
        clock.advance(60)
        with runtime.database.write() as connection:
            row = {"model": "dear", "begins_at": clock.now, "price": kept, "made_at": START}
            connection.execute(insert(table).values(row))
        admitted = call(runtime)
        assert admitted.call.held.cost_bound is None
        assert admitted.charge(USED, answered=True).cost is None
