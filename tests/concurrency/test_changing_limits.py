"""Limits and grants that change while processes call: each change holds for the next admission in every process."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from itertools import cycle

import pytest

from chatapi.domain.effective_limits import LimitPlace
from chatapi.domain.limits import Metric
from chatapi.domain.principals import Claims
from chatapi.domain.windows import Window
from chatapi.logic import audit, grants, limits
from chatapi.logic.actors import command_actor
from chatapi.logic.effective_limits import standings_of
from chatapi.logic.limits import LimitTarget
from chatapi.logic.runtime import Runtime
from tests.chaos.machines import await_that
from tests.concurrency.changing import Changes, Told, breaches
from tests.concurrency.world import world_of
from tests.support.postgres import DATABASES, FreshDatabase
from tests.support.processes import PROJECT_ROOT, clean_environment, end
from tests.support.runtimes import make_runtime

PROCESSES, THREADS, IN_FLIGHT = 4, 16, 64
CHANGES, EVERY_S = 30, 0.03
DAILY = LimitPlace(Metric.REQUESTS, Window.DAY)

pytestmark = pytest.mark.usefixtures("far_from_midnight")


class Caller:
    """Processes that call (`changing.py`): one that does as it is told, or several that race."""

    def __init__(self, url: str, people: Sequence[Claims], processes: int = 0, **environment: str) -> None:
        who = ["/".join(claims) for claims in people]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.concurrency.changing", url, str(processes), str(THREADS), *who],
            env=clean_environment(environment), cwd=PROJECT_ROOT, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip

    def read(self) -> object:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def hold(self, count: int) -> list[Told]:
        """Admit so many calls, and leave them in flight."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{count}\n")
        self.process.stdin.flush()
        return told_by(self.read())

    def stop(self) -> list[Told]:
        """End a race: what all its threads were told."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        return told_by(self.read())

    def close(self) -> None:
        """End it, whatever it does."""
        end(self.process)
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()


def told_by(said: object) -> list[Told]:
    assert isinstance(said, list)
    return [Told(*each) for each in said]


@dataclass
class Changer:
    """The process of the tests, which changes a limit of requests per day, and knows what it comes to.

    Args:
        runtime: as a command has it.
        target: whose limit.
        changes: what was done when; a change is noted as begun before, and as done after it has committed.
    """

    runtime: Runtime
    target: LimitTarget
    changes: Changes
    limit: int
    granted: dict[str, int] = field(default_factory=dict)

    def set(self, value: int) -> None:
        """Set the limit."""
        self.limit = value
        self._note(lambda: limits.set_limit(self.runtime, command_actor(), self.target, DAILY, value))

    def grant(self, value: int) -> str:
        """Grant more; the grant's id."""
        ids: list[str] = []
        self.granted[""] = value
        self._note(lambda: ids.append(grants.add_grant(self.runtime, command_actor(), self.target, DAILY, value).id))
        self.granted[ids[0]] = self.granted.pop("")
        return ids[0]

    def withdraw(self, grant_id: str) -> None:
        """Withdraw a grant."""
        del self.granted[grant_id]
        self._note(lambda: grants.withdraw_grant(self.runtime, command_actor(), grant_id))

    def counted(self) -> int:
        """What is used and held."""
        (standing,) = [
            each
            for each in standings_of(self.runtime, self.target)
            if each.limit.scope.value == self.target.scope.value
        ]
        return (standing.used or 0) + (standing.held or 0)

    def is_used_up(self) -> bool:
        """Whether no more calls are admitted."""
        return self.counted() >= self.changes.values[-1]

    def _note(self, do: Callable[[], object]) -> None:
        self.changes.values.append(self.limit + sum(self.granted.values()))
        self.changes.began.append(time.monotonic())
        do()
        self.changes.done.append(time.monotonic())


@contextmanager
def two_callers(url: str, people: Sequence[Claims]) -> Iterator[tuple[Caller, Caller]]:
    with closing(Caller(url, people)) as one, closing(Caller(url, people)) as other:
        assert (one.read(), other.read()) == ("ready", "ready")
        yield one, other


@contextmanager
def installed(url: str, scope: str, limit: int) -> Iterator[tuple[Changer, list[Claims]]]:
    """A limited user or tenant, its changer, and who calls."""
    with world_of(url) as world:
        world.add_tenant("acme")
        people = [world.add_user(name, "acme") for name in (("red", "blue") if scope == "tenant" else ("red",))]
    runtime = make_runtime(url, daily_requests="unlimited")
    target = LimitTarget.of(tenant="acme") if scope == "tenant" else LimitTarget.of(user="red")
    limits.set_limit(runtime, command_actor(), target, DAILY, limit)
    try:
        yield Changer(runtime, target, Changes([limit]), limit), people
        assert audit.run(runtime) == []
    finally:
        runtime.database.close()


@pytest.mark.parametrize("scope", ["user", "tenant"])
@pytest.mark.parametrize("kind", DATABASES)
def test_a_limit_lowered_while_64_calls_are_in_flight_holds_for_the_next_admission_of_every_process(
    fresh_database: FreshDatabase, kind: str, scope: str
) -> None:
    url = fresh_database(kind)
    with installed(url, scope, IN_FLIGHT + 10) as (changer, people), two_callers(url, people) as (one, other):
        told = one.hold(IN_FLIGHT) + other.hold(1)
        assert [each.granted for each in told] == [True] * (IN_FLIGHT + 1)
        for value in (IN_FLIGHT, IN_FLIGHT + 1, 0):
            changer.set(value)
            for process in (other, one):
                (denied,) = process.hold(1)
                assert (denied.granted, denied.limit, denied.counted) == (False, value, IN_FLIGHT + 1)
                told.append(denied)
        changer.set(IN_FLIGHT)
        grant_id = changer.grant(3)
        for process, granted in ((other, True), (one, True), (other, False)):
            (answer,) = process.hold(1)
            assert (answer.granted, answer.limit) == (granted, IN_FLIGHT + 3)
            told.append(answer)
        changer.grant(1)
        told += one.hold(1)
        assert told[-1].granted
        changer.withdraw(grant_id)
        for process in (other, one):
            (denied,) = process.hold(1)
            assert (denied.granted, denied.limit, denied.counted) == (False, IN_FLIGHT + 1, IN_FLIGHT + 4)
            told.append(denied)
        assert breaches(changer.changes, told) == []


def change(changer: Changer, changes: int) -> None:
    """Lower and raise the limit, and grant and withdraw more, while processes call; there is always more to come."""
    granted: list[str] = []
    steps = cycle(["raise", "grant", "lower", "grant", "withdraw", "raise", "nothing", "withdraw", "grant", "raise"])
    for number in range(changes):
        if number % 3:  # else at once, while calls are being admitted by the one before
            await_that(changer.is_used_up, "the limit is used up")
            time.sleep(EVERY_S)
        counted = changer.counted()
        match next(steps):
            case "raise":
                changer.set(counted + 30 + number)
            case "lower":
                changer.set(max(0, counted - sum(changer.granted.values()) - 7))
            case "nothing":
                changer.set(0)
            case "grant":
                granted.append(changer.grant(25 + number))
            case "withdraw":
                changer.withdraw(granted.pop(0))
    time.sleep(5 * EVERY_S)


def raced(changer: Changer, racing: Caller, changes: int) -> list[Told]:
    """What all processes were told while the limit changed."""
    with closing(racing):
        await_that(lambda: changer.counted() > 0, "processes call")
        change(changer, changes)
        return racing.stop()


@pytest.mark.parametrize(("kind", "scope"), [("sqlite", "tenant"), ("postgresql", "tenant"), ("postgresql", "user")])
def test_no_admission_of_a_race_exceeds_what_was_in_force_while_limits_and_grants_change_under_it(
    fresh_database: FreshDatabase, kind: str, scope: str
) -> None:
    url = fresh_database(kind)
    with installed(url, scope, 20) as (changer, people):
        told = raced(changer, Caller(url, people, PROCESSES), CHANGES)
        found = breaches(changer.changes, told)
        assert found == [], found[:3]
        admitted, limits_met = sum(each.granted for each in told), {each.limit for each in told if not each.granted}
        print(f"{kind}, {scope}: {admitted} admitted and {len(told) - admitted} denied through {CHANGES} changes")
        assert len(limits_met) > CHANGES / 3, "so many limits were met that it was about something"
        assert admitted > CHANGES
        assert changer.counted() == admitted


@pytest.mark.parametrize("kind", DATABASES)
def test_a_process_that_remembers_limits_is_found_out(fresh_database: FreshDatabase, kind: str) -> None:
    url = fresh_database(kind)
    with installed(url, "user", 20) as (changer, people):
        told = raced(changer, Caller(url, people, 1, CHATAPI_TESTS_STALE="1"), 1)
        assert any("was not in force" in each for each in breaches(changer.changes, told))


def test_what_is_checked_of_a_race_is_found() -> None:
    """100 until 10, when it becomes 5 (by 11), until 20, when it becomes 50 (by 21)."""
    changes = Changes([100, 5, 50], began=[10, 20], done=[11, 21])
    right = [Told(1, 2, True, 100, 1), Told(10.5, 10.7, True, 100, 2), Told(10.5, 10.7, True, 5, 3)]
    right += [Told(12, 13, False, 5, 5), Told(19, 20.5, True, 50, 4), Told(30, 31, False, 50, 50)]
    assert breaches(changes, right) == []
    for wrong, said in (
        (Told(12, 13, True, 100, 5), "was not in force"),
        (Told(12, 13, True, 5, 6), "above every limit"),
        (Told(12, 13, False, 5, 4), "there was room"),
        (Told(1, 2, True, 100, 4), "one by one"),
        (Told(1, 2, True, 100, 6), "one by one"),
    ):
        assert any(said in each for each in breaches(changes, [*right, wrong])), wrong
