"""Grants: more of a limit in the one window that was open, and in no other."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from chatapi.domain.actors import Actor
from chatapi.domain.effective_limits import LimitPlace, LimitScope, LimitSetting, Unset
from chatapi.domain.limits import Denial, Metric, Scope
from chatapi.domain.money import MOST_NANODOLLARS
from chatapi.domain.principals import Claims, Role
from chatapi.domain.windows import Window
from chatapi.errors import Forbidden, InvalidInput, NotFound, Taken
from chatapi.logic import audit, grants, limits, tokens
from chatapi.logic.actors import command_actor
from chatapi.logic.effective_limits import standings_of
from chatapi.logic.grants import GrantFilter, LimitGrant
from chatapi.logic.limits import LimitTarget
from chatapi.logic.runtime import Runtime
from chatapi.storage import leases, trail
from chatapi.storage.trail import TrailFilter
from tests.concurrency.world import ask
from tests.support import administration
from tests.support.history import id_at
from tests.support.runtimes import HandClock, make_runtime

BEFORE_MIDNIGHT = datetime(2026, 11, 30, 14, 59, 50, tzinfo=UTC)  # of a month's end in Asia/Tokyo
USER = Scope.USER
DAILY = LimitPlace(Metric.REQUESTS, Window.DAY)
MONTHLY = LimitPlace(Metric.REQUESTS, Window.MONTH)


@pytest.fixture
def clock() -> HandClock:
    return HandClock(BEFORE_MIDNIGHT)


@pytest.fixture
def runtime(database_url: str, clock: HandClock) -> Iterator[Runtime]:
    made = make_runtime(database_url, clock=clock, daily_requests=1)
    administration.add_tenant(made, "acme", timezone="Asia/Tokyo")
    administration.add_user(made, "demo", "secret", tenant="acme")
    yield made
    made.database.close()


@pytest.fixture
def claims(runtime: Runtime) -> Claims:
    return claims_of(runtime, "demo")


def claims_of(runtime: Runtime, username: str) -> Claims:
    token = tokens.exchange(runtime, username, "secret", "198.51.100.1").access_token
    return Claims(token.tenant_id, token.user_id, token.jti)


def admitted(runtime: Runtime, claims: Claims, clock: HandClock) -> int:
    """How many calls are admitted until one is denied; its denial has this limit."""
    worker_id, count = id_at(clock.now), 0
    leases.renew(runtime.database, worker_id)
    while True:
        decision = runtime.writer.submit(ask(claims, worker_id, call_id=id_at(clock.now)))
        if isinstance(decision, Denial):
            assert decision.standing.used + decision.standing.held >= decision.standing.limit.value
            return count
        count += 1
        assert count < 50


def grant(runtime: Runtime, value: int, place: LimitPlace = DAILY, **names: str) -> LimitGrant:
    return grants.add_grant(runtime, command_actor(), LimitTarget.of(**(names or {"user": "demo"})), place, value)


def limit(runtime: Runtime, setting: LimitSetting, place: LimitPlace = DAILY, **names: str) -> None:
    limits.set_limit(runtime, command_actor(), LimitTarget.of(**names), place, setting)


def shown(runtime: Runtime, place: LimitPlace = DAILY, **names: str) -> tuple[int | None, int, int | None]:
    """The value of a user's limit, what of it was granted, and what is left."""
    (found,) = [
        standing
        for standing in standings_of(runtime, LimitTarget.of(**(names or {"user": "demo"})))
        if (standing.limit.scope, standing.limit.metric, standing.limit.window, standing.limit.model) == (USER, *place)
    ]
    return found.limit.value, found.limit.granted, found.left


def test_a_grant_holds_from_the_next_admission_on_until_its_day_ends_and_adds_to_no_other(
    runtime: Runtime, claims: Claims, clock: HandClock
) -> None:
    assert admitted(runtime, claims, clock) == 1
    made = grant(runtime, 2)
    assert (made.window_key, made.ends_at) == ("2026-11-30", datetime(2026, 11, 30, 15, tzinfo=UTC))
    assert admitted(runtime, claims, clock) == 2
    grant(runtime, 1)
    assert shown(runtime) == (4, 3, 1)
    assert admitted(runtime, claims, clock) == 1
    clock.advance(9.999999)
    assert admitted(runtime, claims, clock) == 0
    clock.advance(0.000001)
    assert shown(runtime) == (1, 0, 1)
    assert admitted(runtime, claims, clock) == 1, "yesterday's grants"
    with pytest.raises(Taken):
        grants.withdraw_grant(runtime, command_actor(), made.id)


def test_a_grant_for_a_month_ends_with_the_month_of_its_tenant(
    runtime: Runtime, claims: Claims, clock: HandClock
) -> None:
    limit(runtime, 1, MONTHLY, user="demo")
    limit(runtime, Unset.UNLIMITED, user="demo")
    grant(runtime, 2, MONTHLY)
    assert admitted(runtime, claims, clock) == 3
    clock.advance(10)
    assert shown(runtime, MONTHLY) == (1, 0, 1)
    made = grant(runtime, 1, MONTHLY)
    assert made.window_key == "2026-12"
    clock.advance(20 * 86400)
    claims = claims_of(runtime, "demo")
    assert admitted(runtime, claims, clock) == 2


@pytest.mark.parametrize("name", ["tenant", "access_token"])
def test_tenants_and_access_tokens_are_granted_more_too_and_only_the_one_that_is_named(
    runtime: Runtime, claims: Claims, clock: HandClock, name: str
) -> None:
    names: dict[str, Any] = {"tenant": "acme"} if name == "tenant" else {"access_token": claims.jti}
    limit(runtime, Unset.UNLIMITED, user="demo")
    limit(runtime, 1, **names)
    administration.add_user(runtime, "other", "secret", tenant="globex")
    limit(runtime, 1, tenant="globex")
    grant(runtime, 2, **names)
    assert admitted(runtime, claims, clock) == 3
    assert admitted(runtime, claims_of(runtime, "other"), clock) == 1


def test_a_grant_of_one_model_adds_to_the_limit_of_that_model(
    runtime: Runtime, claims: Claims, clock: HandClock
) -> None:
    limit(runtime, Unset.UNLIMITED, user="demo")
    tiny = LimitPlace(Metric.REQUESTS, Window.DAY, "tiny")
    limit(runtime, 1, tiny, each_user_of="acme")
    with pytest.raises(InvalidInput, match="no limit of requests per day of large"):
        grant(runtime, 1, LimitPlace(Metric.REQUESTS, Window.DAY, "large"))
    grant(runtime, 2, tiny)
    assert admitted(runtime, claims, clock) == 3
    assert shown(runtime, tiny) == (3, 2, 0)


def test_what_is_withdrawn_is_taken_back_at_once_and_the_audit_understands(
    runtime: Runtime, claims: Claims, clock: HandClock
) -> None:
    clock.advance(-86400)  # so that the limit was there when the window opened
    limit(runtime, 1, user="demo")
    limit(runtime, 1, LimitPlace(Metric.REQUESTS, Window.DAY, "tiny"), user="demo")
    clock.advance(86400)
    made = [grant(runtime, 2), grant(runtime, 2, LimitPlace(Metric.REQUESTS, Window.DAY, "tiny"))]
    assert admitted(runtime, claims, clock) == 3
    assert audit.run(runtime) == []
    for each in made:
        withdrawn = grants.withdraw_grant(runtime, command_actor(), each.id)
        assert withdrawn == grants.withdraw_grant(runtime, command_actor(), each.id), "once is enough"
    assert shown(runtime) == (1, 0, 0)
    assert admitted(runtime, claims, clock) == 0
    assert audit.run(runtime) == []
    grant(runtime, 3)
    grant(runtime, 3, LimitPlace(Metric.REQUESTS, Window.DAY, "tiny"))
    assert admitted(runtime, claims, clock) == 1


def test_what_is_unlimited_or_would_be_too_much_is_refused(runtime: Runtime, claims: Claims) -> None:
    for place in (MONTHLY, LimitPlace(Metric.TOKENS, Window.DAY), LimitPlace(Metric.REQUESTS, Window.DAY, "tiny")):
        with pytest.raises(InvalidInput, match="unlimited"):
            grant(runtime, 1, place)
    limit(runtime, Unset.UNLIMITED, user="demo")
    with pytest.raises(InvalidInput, match="unlimited"):
        grant(runtime, 1)
    limit(runtime, MOST_NANODOLLARS - 1, LimitPlace(Metric.COST, Window.DAY), user="demo")
    grant(runtime, 1, LimitPlace(Metric.COST, Window.DAY))
    with pytest.raises(InvalidInput, match="at most"):
        grant(runtime, 1, LimitPlace(Metric.COST, Window.DAY))
    for wrong in (LimitPlace(Metric.REQUESTS, Window.MINUTE), LimitPlace(Metric.REQUESTS, Window.AT_ONCE)):
        with pytest.raises(InvalidInput):
            grant(runtime, 1, wrong)
    with pytest.raises(InvalidInput):
        grant(runtime, 0)
    with pytest.raises(InvalidInput):
        grant(runtime, 1, each_user_of="acme")


def test_grants_are_listed_by_whom_they_are_for_and_those_that_count_now(
    runtime: Runtime, claims: Claims, clock: HandClock
) -> None:
    limit(runtime, 5, tenant="acme")
    made = [grant(runtime, 1), grant(runtime, 2, tenant="acme"), grant(runtime, 3)]
    grants.withdraw_grant(runtime, command_actor(), made[2].id)

    def listed(open_only: bool, **names: str) -> list[tuple[int, str | None, bool]]:
        target = LimitTarget.of(**names) if names else None
        found = grants.all_grants(runtime, target, open_only=open_only)
        return [(each.grant.value, each.username, each.in_force) for each in found]

    assert listed(False, tenant="acme") == [(3, "demo", False), (2, None, True), (1, "demo", True)]
    assert listed(False) == listed(False, tenant="acme")
    assert listed(True) == [(2, None, True), (1, "demo", True)]
    assert listed(False, user="demo") == [(3, "demo", False), (1, "demo", True)]
    clock.advance(60)
    assert listed(True) == []
    tenant = LimitTarget.of(tenant="acme")
    page = grants.page_of_grants(runtime, tenant, GrantFilter(), None, 2)
    assert [each.grant for each in grants.page_of_grants(runtime, tenant, GrantFilter(), page[1].grant.id, 2)] == [
        made[0]
    ]
    for wrong in ("no id", made[0].tenant_id):
        with pytest.raises(NotFound):
            grants.withdraw_grant(runtime, command_actor(), wrong)


def test_the_trail_tells_of_limits_and_grants(runtime: Runtime, claims: Claims) -> None:
    made = grant(runtime, 2)
    grants.withdraw_grant(runtime, command_actor(), made.id)
    limit(runtime, 7, user="demo")
    limit(runtime, 7, user="demo")
    limit(runtime, Unset.INHERIT, user="demo")
    with runtime.database.read() as connection:
        page = trail.page(connection, TrailFilter(tenant_id=claims.tenant_id, subject=claims.user_id), 10)
    told = [(each.entry.action, each.entry.before, each.entry.after) for each in page.entries]
    said = {"grant": made.id, "requests per day": 2, "for": "2026-11-30"}
    assert told[:4] == [
        ("limit.remove", {"requests per day": 7}, {"requests per day": "inherit"}),
        ("limit.set", {"requests per day": "inherit"}, {"requests per day": 7}),
        ("grant.withdraw", said, None),
        ("grant.add", None, said),
    ]


@pytest.mark.parametrize("role", [Role.ADMIN, Role.OPERATOR])
def test_nobody_changes_limits_of_their_own_nor_grants_more_to_themselves(
    runtime: Runtime, claims: Claims, role: Role
) -> None:
    administration.add_user(runtime, "boss", "secret", tenant="acme", role=role)
    boss = claims_of(runtime, "boss")
    actor = Actor("boss", role, boss)
    mine = grant(runtime, 1, user="boss")
    for target in (LimitTarget.of(user="boss"), LimitTarget.of(access_token=boss.jti)):
        for change in (
            lambda target=target: limits.set_limit(runtime, actor, target, DAILY, 0),
            lambda target=target: grants.add_grant(runtime, actor, target, DAILY, 1),
        ):
            with pytest.raises(Forbidden, match="of their own"):
                change()
    with pytest.raises(Forbidden, match="of their own"):
        grants.withdraw_grant(runtime, actor, mine.id)
    administration.add_user(runtime, "chief", "secret", tenant="acme", role=Role.OPERATOR)
    if role is Role.ADMIN:
        with pytest.raises(Forbidden, match="above yours"):
            limits.set_limit(runtime, actor, LimitTarget.of(user="chief"), DAILY, 100)
    limits.set_limit(runtime, actor, LimitTarget.of(user="demo"), DAILY, 100)
    grants.add_grant(runtime, actor, LimitTarget.of(user="demo"), DAILY, 100)
    assert shown(runtime) == (200, 100, 200)


def test_an_admin_neither_raises_its_tenant_s_limits_nor_its_own_through_those_of_each_user(
    runtime: Runtime, claims: Claims, clock: HandClock
) -> None:
    administration.add_user(runtime, "boss", "secret", tenant="acme", role=Role.ADMIN)
    actor = Actor("boss", Role.ADMIN, claims_of(runtime, "boss"))
    each, whole = LimitTarget.of(each_user_of="acme"), LimitTarget.of(tenant="acme")
    limit(runtime, 5, tenant="acme")
    of_acme = grant(runtime, 1, tenant="acme")
    for change in (
        lambda: limits.set_limit(runtime, actor, whole, DAILY, 1),
        lambda: grants.add_grant(runtime, actor, whole, DAILY, 1),
        lambda: grants.withdraw_grant(runtime, actor, of_acme.id),
    ):
        with pytest.raises(Forbidden, match="for operators"):
            change()
    limits.set_limit(runtime, actor, each, DAILY, 0)
    for more in (1, Unset.UNLIMITED, Unset.INHERIT):
        with pytest.raises(Forbidden, match="raise your own"):
            limits.set_limit(runtime, actor, each, DAILY, more)
    limits.set_limit(runtime, actor, each, MONTHLY, 3)  # which was unlimited
    with pytest.raises(Forbidden, match="raise your own"):
        limits.set_limit(runtime, actor, each, MONTHLY, Unset.INHERIT)
    limit(runtime, 1, user="boss")
    limits.set_limit(runtime, actor, each, DAILY, 9)
    assert shown(runtime, user="boss") == (1, 0, 1)
    clock.advance(1)
    administration.add_user(runtime, "other", "secret", tenant="globex")
    for target in (LimitTarget.of(user="other"), LimitTarget(LimitScope.USER, claims.user_id, claims.jti)):
        with pytest.raises(NotFound):
            limits.set_limit(runtime, actor, target, DAILY, 1)
    assert timedelta() < of_acme.ends_at - clock.now
