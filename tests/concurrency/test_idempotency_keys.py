"""Idempotency keys in the ledger: whoever asks at once, one call has a key; and what ends a call badly frees it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import select

from chatapi.domain.calls import Admission, AttemptState, CallState, Charge, Decision, Grant, HeldCall, Settlement
from chatapi.domain.idempotency import COMPLETED, KEPT_FOR, IdempotencyKey, Repeat, RepeatKind
from chatapi.domain.limits import Denial, Metric
from chatapi.domain.windows import Window
from chatapi.storage import idempotency
from chatapi.storage.tables import idempotency_keys
from tests.concurrency.model import utc
from tests.concurrency.world import Clock, LastingDatabase, World, ask, world_of

NOON = utc("2026-11-21T12:00:00")
KEY, OTHER_REQUEST, OTHER_KEY = IdempotencyKey("k", "a"), IdempotencyKey("k", "b"), IdempotencyKey("l", "a")


@pytest.fixture
def world(emptied: LastingDatabase) -> World:
    """A tenant with two users."""
    world = emptied.world(NOON)
    world.add_tenant("acme")
    for user in ("red", "blue"):
        world.add_user(user, "acme")
    return world


class Player:
    """Asks with keys for one user, through one worker."""

    def __init__(self, world: World, user: str = "red") -> None:
        self.world = world
        self.claims = world.users[user]
        self.worker_id = world.worker()

    def asking(self, key: IdempotencyKey = KEY) -> Admission:
        return ask(self.claims, self.worker_id)._replace(key=key)

    def ask(self, key: IdempotencyKey = KEY) -> Decision:
        return self.world.writer.submit(self.asking(key))

    def granted(self, key: IdempotencyKey = KEY) -> HeldCall:
        decision = self.ask(key)
        assert isinstance(decision, Grant)
        return decision.call

    def end(self, call: HeldCall, state: CallState = CallState.SETTLED, ended: str = COMPLETED) -> None:
        charge = Charge.at_hold(call, answered=True) if state is CallState.SETTLED else Charge()
        assert self.world.writer.submit(Settlement(call, state, charge, ended, AttemptState.ANSWERED))

    def keep(self, call: HeldCall, reply: bytes = b"sealed") -> None:
        idempotency.keep(self.world.database, call, KEY, reply)

    def kept(self) -> bytes | None:
        with self.world.database.read() as connection:
            found = idempotency.find(connection, self.claims, KEY)
        return found[1] if found else None


@pytest.fixture
def red(world: World) -> Player:
    return Player(world)


def kind_of(decision: Decision) -> RepeatKind | type:
    return decision.kind if isinstance(decision, Repeat) else type(decision)


def keys_in(world: World) -> set[tuple[str, str]]:
    """All keys, each with the call that has it."""
    with world.database.read() as connection:
        columns = idempotency_keys.c
        return {(row[0], row[1]) for row in connection.execute(select(columns.key_digest, columns.call_id))}


def test_of_one_batch_the_first_has_the_key_and_nothing_of_the_others_is_held(world: World, red: Player) -> None:
    asked = [red.asking(key) for key in (KEY, KEY, OTHER_REQUEST, OTHER_KEY)] + [Player(world, "blue").asking()]
    decisions = [ticket.wait() for ticket in world.writer.submit_all(asked)]
    kinds = [kind_of(decision) for decision in decisions]  # type: ignore[arg-type]
    assert kinds == [Grant, RepeatKind.RUNNING, RepeatKind.OTHER_REQUEST, Grant, Grant]
    assert keys_in(world) == {("k", asked[0].call_id), ("l", asked[3].call_id), ("k", asked[4].call_id)}
    assert world.audit() == []


def test_of_one_batch_a_key_goes_to_the_first_that_is_granted(world: World, red: Player) -> None:
    world.set_limit(
        "user", red.claims.user_id, Metric.TOKENS, Window.DAY, 30, tenant_id=red.claims.tenant_id
    )  # as much as one of them needs
    small = red.asking()
    large = small._replace(call_id=red.asking().call_id, need=replace(small.need, prompt_bound=31))
    decisions = [ticket.wait() for ticket in world.writer.submit_all([large, small, red.asking(OTHER_KEY)])]
    assert [kind_of(decision) for decision in decisions] == [Denial, Grant, Denial]  # type: ignore[arg-type]
    assert keys_in(world) == {("k", small.call_id)}


@pytest.mark.parametrize(
    ("state", "ended", "then"),
    [
        (CallState.SETTLED, COMPLETED, RepeatKind.NOT_KEPT),
        (CallState.SETTLED, "client_gone", Grant),
        (CallState.SETTLED, "upstream_error", Grant),
        (CallState.RELEASED, "upstream_error", Grant),
    ],
)
def test_a_call_keeps_its_key_when_it_was_answered_whole(
    world: World, red: Player, state: CallState, ended: str, then: RepeatKind | type
) -> None:
    first = red.granted()
    assert kind_of(red.ask()) is RepeatKind.RUNNING
    red.end(first, state, ended)
    assert kind_of(red.ask()) is then
    ((_, owner),) = keys_in(world)
    assert (owner == first.call_id) is (then is not Grant)
    assert kind_of(red.ask(OTHER_REQUEST)) is RepeatKind.OTHER_REQUEST


def test_what_expires_frees_its_key_and_its_late_reply_is_not_kept(world: World, red: Player) -> None:
    first = red.granted()
    with world.database.write() as connection:
        assert world.ledger.expire(connection, [first]) == 1
    second = red.granted()
    red.keep(first, b"late")
    red.end(first)
    assert red.kept() is None
    assert kind_of(red.ask()) is RepeatKind.RUNNING
    red.keep(second)
    red.end(second)
    assert (kind_of(red.ask()), red.kept()) == (RepeatKind.ANSWERED, b"sealed")
    assert world.audit() == []


def test_a_kept_reply_outlives_a_worker_that_died_before_its_settlement(world: World, red: Player) -> None:
    first = red.granted()
    red.keep(first)
    with world.database.write() as connection:
        assert world.ledger.expire(connection, [first]) == 1
    assert (kind_of(red.ask()), red.kept()) == (RepeatKind.ANSWERED, b"sealed")


def test_a_key_expires_and_is_forgotten(world: World, red: Player) -> None:
    assert world.clock is not None
    first = red.granted()
    red.keep(first)
    red.end(first)
    world.clock.move(KEPT_FOR.total_seconds() - 1)
    red.worker_id = world.worker()
    assert kind_of(red.ask()) is RepeatKind.ANSWERED
    assert idempotency.forget(world.database) == 0
    world.clock.move(1)
    second = red.granted()
    assert red.kept() is None
    assert keys_in(world) == {("k", second.call_id)}
    world.clock.move(KEPT_FOR.total_seconds())
    assert idempotency.forget(world.database) == 1
    assert keys_in(world) == set()


def test_a_denied_call_leaves_no_key_behind(world: World, red: Player) -> None:
    world.set_limit("user", red.claims.user_id, Metric.REQUESTS, Window.DAY, 0, tenant_id=red.claims.tenant_id)
    beside = Player(world, "blue").asking(OTHER_KEY)  # so that the batch is committed
    denied, granted = (ticket.wait() for ticket in world.writer.submit_all([red.asking(), beside]))
    assert isinstance(denied, Denial) and isinstance(granted, Grant)
    assert keys_in(world) == {("l", beside.call_id)}


@pytest.fixture
def two_months(lasting_database_url: str, world: World) -> Iterator[list[Player]]:
    """Two processes, for one of which it is the last second of a month and for the other one the first of the next."""
    midnight = utc("2026-12-01T00:00:00")
    with (
        world_of(lasting_database_url, clock=Clock(midnight - timedelta(seconds=1))) as before,
        world_of(lasting_database_url, clock=Clock(midnight)) as after,
    ):
        for each in (before, after):
            each.users = world.users
        yield [Player(before), Player(after)]


@pytest.mark.parametrize("used_before", [False, True])
def test_two_processes_that_lock_no_common_counter_never_give_one_key_to_two_calls(
    two_months: list[Player], used_before: bool
) -> None:
    """Around the end of a month: they lock the counters of different windows."""
    keys = [IdempotencyKey(f"key {turn}", "a") for turn in range(25)]
    for key in keys if used_before else []:
        two_months[0].end(two_months[0].granted(key), CallState.RELEASED, "upstream_error")
    decisions: list[list[Decision]] = [[], []]
    start = threading.Barrier(2)

    def play(number: int) -> None:
        for key in keys:
            start.wait()
            decisions[number].append(two_months[number].ask(key))

    threads = [threading.Thread(target=play, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    kinds = [{kind_of(one), kind_of(other)} for one, other in zip(*decisions, strict=True)]
    assert kinds == [{Grant, RepeatKind.RUNNING}] * len(keys)
