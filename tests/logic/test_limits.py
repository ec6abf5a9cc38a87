"""Limits: set, lifted, removed; and where each one in force comes from."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import event

from chatapi.domain.effective_limits import MOST_LIMITS, EffectiveLimit, LimitPlace, LimitScope, LimitSource, Unset
from chatapi.domain.limits import Metric, Scope
from chatapi.domain.money import MOST_NANODOLLARS
from chatapi.domain.windows import Window
from chatapi.errors import InvalidInput, NotFound
from chatapi.logic import limits
from chatapi.logic.actors import command_actor
from chatapi.logic.effective_limits import default_limits, standings_of
from chatapi.logic.limits import LimitTarget
from chatapi.logic.runtime import Runtime
from tests.support import administration
from tests.support.runtimes import make_runtime

DAILY = LimitPlace(Metric.REQUESTS, Window.DAY)


@pytest.fixture
def runtime(database_url: str) -> Iterator[Runtime]:
    made = make_runtime(database_url)
    administration.add_user(made, "demo", "secret", tenant="acme")
    yield made
    made.database.close()


def in_force(runtime: Runtime, **names: str) -> list[EffectiveLimit]:
    return [standing.limit for standing in standings_of(runtime, LimitTarget.of(**names))]


def daily(runtime: Runtime, username: str) -> dict[str, tuple[int | None, str]]:
    return {limit.metric: (limit.value, limit.source) for limit in in_force(runtime, user=username)}


def test_limits_are_set_lifted_and_removed(runtime: Runtime) -> None:
    each, own = LimitTarget.of(each_user_of="acme"), LimitTarget.of(user="demo")
    limits.set_limit(runtime, command_actor(), each, DAILY, 20)
    assert daily(runtime, "demo") == {"requests": (20, "each_user")}
    limits.set_limit(runtime, command_actor(), own, DAILY, Unset.UNLIMITED)
    assert daily(runtime, "demo") == {"requests": (None, "own")}
    limits.set_limit(runtime, command_actor(), own, DAILY, 0)
    assert daily(runtime, "demo") == {"requests": (0, "own")}
    for target in (own, each):
        before = limits.set_limit(runtime, command_actor(), target, DAILY, Unset.INHERIT)
        assert before is not None and before.row.value == (0 if target is own else 20)
        assert limits.set_limit(runtime, command_actor(), target, DAILY, Unset.INHERIT) is None
    assert daily(runtime, "demo") == {"requests": (10, "default")}
    monthly = LimitPlace(Metric.TOKENS, Window.MONTH)
    limits.set_limit(runtime, command_actor(), LimitTarget.of(tenant="acme"), monthly, 10**15)
    whole = EffectiveLimit(Scope.TENANT, Metric.TOKENS, Window.MONTH, 10**15, LimitSource.OWN)
    assert whole in in_force(runtime, user="demo")
    assert whole in in_force(runtime, tenant="acme")
    assert len(default_limits(runtime)) == 1


def test_a_limit_needs_one_target() -> None:
    for names in ({}, {"user": "demo", "tenant": "default"}, {"user": "demo", "access_token": "x"}):
        with pytest.raises(InvalidInput):
            LimitTarget.of(**names)


@pytest.mark.parametrize(
    ("target", "said"),
    [
        (LimitTarget.of(access_token="no id"), "There is no access token 'no id'."),
        (LimitTarget.of(tenant="\0"), "There is no tenant"),
        (LimitTarget(LimitScope.USER, "no id", "no id either"), "There is no such user."),
        (LimitTarget(LimitScope.EACH_USER, "no id", "no id"), "There is no such tenant."),
    ],
)
def test_what_cannot_be_an_id_is_nobodys(runtime: Runtime, target: LimitTarget, said: str) -> None:
    with pytest.raises(NotFound, match=said):
        standings_of(runtime, target)
    with pytest.raises(NotFound, match=said):
        limits.set_limit(runtime, command_actor(), target, DAILY, 1)


def test_a_limit_that_no_counter_could_keep_is_refused(runtime: Runtime) -> None:
    own = LimitTarget.of(user="demo")
    for metric, most in ((Metric.TOKENS, 10**15), (Metric.COST, MOST_NANODOLLARS)):
        place = LimitPlace(metric, Window.DAY)
        limits.set_limit(runtime, command_actor(), own, place, most)
        for wrong in (most + 1, -1):
            with pytest.raises(InvalidInput):
                limits.set_limit(runtime, command_actor(), own, place, wrong)


def test_so_many_limits_may_be_set_that_admissions_read_them_in_no_time(runtime: Runtime) -> None:
    each, own = LimitTarget.of(each_user_of="acme"), LimitTarget.of(user="demo")
    places = [LimitPlace(Metric.REQUESTS, Window.DAY, f"model-{number}") for number in range(MOST_LIMITS)]
    for place in places:
        limits.set_limit(runtime, command_actor(), each, place, 1)
    with pytest.raises(InvalidInput, match="At most 200 limits"):
        limits.set_limit(runtime, command_actor(), each, DAILY, 1)
    limits.set_limit(runtime, command_actor(), own, DAILY, 1)
    limits.set_limit(runtime, command_actor(), each, places[0], 2)
    limits.set_limit(runtime, command_actor(), each, places[0], Unset.INHERIT)
    limits.set_limit(runtime, command_actor(), each, DAILY, 1)


def test_calls_are_added_up_only_when_a_limit_is_the_first_to_name_their_counters(runtime: Runtime) -> None:
    """No call of the tenant is admitted meanwhile, and a month has many."""
    own, statements = LimitTarget.of(user="demo"), list[str]()
    place = LimitPlace(Metric.REQUESTS, Window.MONTH, "tiny")

    def note(_c: object, _d: object, statement: str, *_more: object) -> None:
        statements.append(statement)

    event.listen(runtime.database.writing_engine, "before_cursor_execute", note)
    added_up = []
    for metric, setting in (
        (Metric.REQUESTS, 1),
        (Metric.REQUESTS, Unset.UNLIMITED),
        (Metric.TOKENS, 2),
        (Metric.REQUESTS, Unset.INHERIT),
        (Metric.TOKENS, Unset.INHERIT),
        (Metric.TOKENS, 3),
    ):
        statements.clear()
        limits.set_limit(runtime, command_actor(), own, place._replace(metric=metric), setting)
        added_up.append(any("FROM calls" in statement for statement in statements))
    assert added_up == [True, False, False, False, False, True]
