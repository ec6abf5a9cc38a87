"""The ledger against its model: whatever is admitted, settled, lost, repeated or late, I1 to I7 hold.

`make test` plays 100 examples on each database; `make proof` (CHATAPI_PROOF=1) 2,000 of 50 steps.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from sqlalchemy import Connection, event

from chatapi.storage import given, seeding, tickets, writer
from chatapi.storage.ledger import Ledger
from chatapi.storage.writer import LedgerWriter
from tests.concurrency.game import DEFAULTS, FlakyDatabase
from tests.concurrency.machine import LedgerMachine
from tests.concurrency.model import utc
from tests.concurrency.world import LEASE_S, Clock, World, settings_of

PROOF = bool(os.environ.get("CHATAPI_PROOF"))
PROFILE = settings(
    max_examples=2000 if PROOF else 100,
    stateful_step_count=50 if PROOF else 15,
    deadline=None,
    database=None,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate, Phase.shrink] if PROOF else [Phase.generate],  # shrinking may take many minutes
)
# A mutant is dead as soon as it has failed; nobody needs its smallest example.
HUNT = settings(PROFILE, max_examples=100, stateful_step_count=30, derandomize=True)
Rewrite = Callable[[str, Any, dict[str, Any]], str]  # statement, parameters, what the connection remembers → statement


@pytest.fixture
def machine(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[LedgerMachine]]:
    """The state machine on a database with two tenants and four users."""
    monkeypatch.setattr(writer, "PAUSE_S", 0.0)
    monkeypatch.setattr(tickets, "PATIENCE_S", 60.0)  # the model counts tries and knows no hurry
    monkeypatch.setattr(seeding, "CLOCKS_APART", timedelta(days=1000))  # ids are made by this machine's own clock
    clock = Clock(utc("2026-11-21T12:00:00"))
    database = FlakyDatabase(settings_of(database_url), clock)
    ledger = Ledger(database, DEFAULTS, LEASE_S)
    world = World(database, ledger, LedgerWriter(database, ledger), clock)
    for tenant, zone in (("tokyo", "Asia/Tokyo"), ("berlin", "Europe/Berlin")):
        world.add_tenant(tenant, zone)
        for number in range(2):
            world.add_user(f"{tenant}-{number}", tenant)
    yield type("Machine", (LedgerMachine,), {"world": world})
    world.close()


@pytest.mark.no_cover  # measuring it takes longer than playing it
@pytest.mark.proof
@pytest.mark.timeout(0 if PROOF else 180)
def test_the_ledger_is_what_the_model_says_after_every_step(machine: type[LedgerMachine]) -> None:
    run_state_machine_as_test(machine, settings=PROFILE)


def forget_the_state(statement: str, _parameters: Any, _memory: dict[str, Any]) -> str:
    """The compare-and-set without its comparison: a replay moves the counters again."""
    if "UPDATE calls SET" in statement:
        return re.sub(r'AND calls\.state = given\."?before"?', "", statement)
    return re.sub(r"(CAST\(calls\.id AS TEXT\) AS id), calls\.state", r"\1, 'held'", statement)


def overlook_what_is_held(statement: str, _parameters: Any, _memory: dict[str, Any]) -> str:
    """Counters are read without what calls in flight hold."""
    if "INSERT INTO counters" in statement:
        head, returning, columns = statement.partition("RETURNING")
        return head + returning + re.sub(r"(counters\.)?(\w+_held)", r"0 AS \2", columns)
    if statement.startswith("SELECT CAST(counters.tenant_id"):  # SQLite reads them with a statement of its own
        return re.sub(r"counters\.(\w+_held)", r"0 AS \1", statement)
    return statement


def keep_the_hold_of_what_expires(statement: str, parameters: Any, memory: dict[str, Any]) -> str:
    """A call that expires is charged, but its hold stays in the counters."""
    if "UPDATE calls SET" in statement:
        words = str(parameters)
        memory["expiring"] = any(each in words for each in ("('expired'", "'held', 'expired'", '"state":"expired"'))
        return statement
    if "INSERT INTO counters" not in statement or not memory.pop("expiring", False):
        return statement
    return re.sub(r"(\w+_held) = \(counters\.\1 \+ excluded\.\1\)", r"\1 = counters.\1", statement)


def set_what_should_be_added(statement: str, _parameters: Any, _memory: dict[str, Any]) -> str:
    """What is used is set, not added: of two calls the last one counts."""
    return re.sub(r"(\w+_used) = \(counters\.\1 \+ excluded\.\1\)", r"\1 = excluded.\1", statement)


def give_nothing_back_to_named_counters(statement: str, _parameters: Any, _memory: dict[str, Any]) -> str:
    """What ends does not leave the counters that only limits name: those of minutes, of calls in flight, of models."""
    if "UPDATE counters" not in statement:
        return statement
    return re.sub(r"(\w+)=\(counters\.\1 \+ ([^)]*)\)", r"\1=(counters.\1 + 0 * \2)", statement)


def seed_with_nothing(statement: str, _parameters: Any, _memory: dict[str, Any]) -> str:
    """A limit that names counters begins to count when it is set, and not when their window opened."""
    return statement.replace(" GROUP BY ", " AND 1 = 0 GROUP BY ") if "INSERT INTO counters" in statement else statement


class Rewriting:
    """SQLite's own connection, with statements changed on their way."""

    def __init__(self, driver: Any, rewrite: Callable[[str, Any], str]) -> None:
        self._driver, self._rewrite = driver, rewrite

    def execute(self, statement: str, parameters: Any) -> Any:
        """Run a statement."""
        return self._driver.execute(self._rewrite(statement, parameters), parameters)

    def executemany(self, statement: str, parameters: Any) -> Any:
        """Run a statement for each of these."""
        return self._driver.executemany(self._rewrite(statement, parameters), parameters)


@contextmanager
def rewritten(database: FlakyDatabase, rewrite: Rewrite, patch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Change statements on their way to the driver; the list gets those that were changed."""
    changed: list[str] = []
    memory: dict[str, Any] = {}

    def change(statement: str, parameters: Any) -> str:
        mutant = rewrite(statement, parameters, memory)
        if mutant != statement:
            changed.append(mutant)
        return mutant

    def before(_connection: object, _cursor: object, text: str, parameters: Any, *_rest: object) -> tuple[str, Any]:
        return change(text, parameters), parameters

    def sqlite_of(connection: Connection) -> Rewriting:
        return Rewriting(own_sqlite_of(connection), change)

    def send(connection: Connection, statement: str, parameters: Sequence[bytes | None]) -> given.Answer:
        return own_send(connection, change(statement, [each and each.decode() for each in parameters]), parameters)

    own_sqlite_of, own_send = given.sqlite_of, given.send
    patch.setattr(given, "sqlite_of", sqlite_of)
    patch.setattr(given, "send", send)
    event.listen(database.writing_engine, "before_cursor_execute", before, retval=True)
    yield changed
    event.remove(database.writing_engine, "before_cursor_execute", before)


@pytest.mark.no_cover
@pytest.mark.parametrize(
    "rewrite",
    [
        forget_the_state,
        overlook_what_is_held,
        keep_the_hold_of_what_expires,
        set_what_should_be_added,
        give_nothing_back_to_named_counters,
        seed_with_nothing,
    ],
    ids=lambda rewrite: rewrite.__name__,
)
def test_statements_that_were_made_wrong_are_caught(
    machine: type[LedgerMachine], rewrite: Rewrite, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = machine.world.database
    assert isinstance(database, FlakyDatabase)
    # The model alone must catch them; what the audit catches is tested in test_audit.py, and costs most of the time.
    hunter = type("Hunter", (machine,), {"the_audit_finds_nothing_else": lambda _: None})
    with rewritten(database, rewrite, monkeypatch) as changed, pytest.raises((AssertionError, ExceptionGroup)):
        run_state_machine_as_test(hunter, settings=HUNT)
    assert changed, "the mutation matched no statement"
