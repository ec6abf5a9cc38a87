"""From a journal into the ledger: what is owed is charged once, however often and by whomever it is replayed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import select

from chatapi.domain.calls import AttemptState, CallState, Charge, Grant, HeldCall, Settlement
from chatapi.domain.usage import Usage, UsageSource
from chatapi.errors import DatabaseUnavailable
from chatapi.storage import leases, writer
from chatapi.storage.journal import Journal
from chatapi.storage.tables import calls
from tests.concurrency.world import World, ask, world_of
from tests.storage.settlements import OURS

USAGE = Usage(5, 0, 7, 0, UsageSource.UPSTREAM)


@pytest.fixture
def world(database_url: str) -> Iterator[World]:
    with world_of(database_url) as world:
        world.add_tenant("acme")
        world.add_user("somebody", "acme")
        yield world


@contextmanager
def away(world: World) -> Iterator[None]:
    """The database does not answer this process."""

    def refuse(*_: object, **__: object) -> None:
        raise DatabaseUnavailable

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(world.database, "write", refuse)
        yield


def journal_of(world: World, folder: Path) -> Journal:
    journal = Journal(folder, OURS)
    world.writer.keep_in(journal)
    return journal


def held(world: World) -> HeldCall:
    grant = world.writer.submit(ask(world.users["somebody"], world.worker()))
    assert isinstance(grant, Grant)
    return grant.call


def settle(world: World, call: HeldCall) -> bool:
    charge = Charge(answered=True, usage=USAGE)
    return world.writer.submit(Settlement(call, CallState.SETTLED, charge, "completed", AttemptState.ANSWERED))


def state(world: World, call: HeldCall) -> tuple[str, int]:
    with world.database.read() as connection:
        found = connection.execute(select(calls.c.state, calls.c.completion_tokens).where(calls.c.id == call.call_id))
        return tuple(found.one())


def lines_in(folder: Path) -> int:
    return sum(path.read_bytes().count(b"\n") for path in folder.iterdir())


def die_owing(url: str, world: World, folder: Path) -> HeldCall:
    """Another process settles a call while the database is away, and dies."""
    call = held(world)
    with world_of(url) as dying, away(dying):
        journal = journal_of(dying, folder)
        assert settle(dying, call) is False
        journal.close()
    return call


def test_what_is_owed_is_in_the_journal_until_the_ledger_has_it(world: World, tmp_path: Path) -> None:
    journal = journal_of(world, tmp_path)
    call = held(world)
    with away(world):
        assert settle(world, call) is False
        assert lines_in(tmp_path) == 1
        assert world.writer.repay() == 1
        assert lines_in(tmp_path) == 1  # it is not written again with every try
    assert world.writer.repay() == 0
    assert lines_in(tmp_path) == 0
    assert state(world, call) == ("settled", 7)
    assert world.audit() == []
    journal.close()


def test_what_a_dead_process_owed_is_settled_by_another(database_url: str, world: World, tmp_path: Path) -> None:
    call = die_owing(database_url, world, tmp_path)
    assert state(world, call) == ("held", 0)
    journal_of(world, tmp_path)
    world.writer.adopt()
    assert world.writer.owes(call.call_id)
    assert world.writer.repay() == 0
    assert state(world, call) == ("settled", 7)
    world.writer.close()
    assert list(tmp_path.iterdir()) == []


def test_a_replay_corrects_a_call_that_has_expired_meanwhile(database_url: str, world: World, tmp_path: Path) -> None:
    call = die_owing(database_url, world, tmp_path)
    leases.expire_strays(world.database, world.ledger, [call])
    assert state(world, call) == ("expired", call.completion_granted)
    journal_of(world, tmp_path)
    world.writer.adopt()
    assert world.writer.repay() == 0
    assert state(world, call) == ("settled", 7)
    assert world.audit() == []
    world.writer.close()


def test_a_file_that_is_replayed_again_and_again_charges_nobody_twice(
    database_url: str, world: World, tmp_path: Path
) -> None:
    call = die_owing(database_url, world, tmp_path / "first")
    for number in range(3):  # a copy each time, as an operator might restore one
        shutil.copytree(tmp_path / "first", tmp_path / f"copy-{number}")
        journal_of(world, tmp_path / f"copy-{number}")
        world.writer.adopt()
        assert world.writer.repay() == 0
        assert world.audit() == []
    assert state(world, call) == ("settled", 7)
    world.writer.close()


def test_who_owes_too_much_admits_nothing_until_it_is_repaid(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "MOST_OWED", 2)
    for call in [held(world), held(world)]:
        with away(world):
            settle(world, call)
    with pytest.raises(DatabaseUnavailable):
        held(world)
    assert world.writer.repay() == 0
    assert held(world).call_id


def test_what_is_still_owed_at_the_end_of_a_process_is_left_to_the_next(world: World, tmp_path: Path) -> None:
    journal_of(world, tmp_path)
    call = held(world)
    with away(world):
        settle(world, call)
        world.writer.close()
    assert lines_in(tmp_path) == 1
