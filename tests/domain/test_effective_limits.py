"""Which of several limits holds: the nearest one that was set."""

from __future__ import annotations

from chatapi.domain.effective_limits import EffectiveLimit, LimitRow, LimitSource, effective_limits, explain_limits
from chatapi.domain.limits import Limit, Metric, Scope
from chatapi.domain.windows import Window

DEFAULTS = {(Metric.REQUESTS, Window.DAY): 10}


def row(scope: str, value: int | None, metric: Metric = Metric.REQUESTS, window: Window = Window.DAY) -> LimitRow:
    return LimitRow(scope, "id", metric, window, value)


def test_without_rows_the_defaults_hold() -> None:
    assert effective_limits([], DEFAULTS) == (Limit(Scope.USER, Metric.REQUESTS, Window.DAY, 10),)


def test_a_tenants_limit_for_each_user_replaces_the_default() -> None:
    assert effective_limits([row("each_user", 7)], DEFAULTS) == (Limit(Scope.USER, Metric.REQUESTS, Window.DAY, 7),)


def test_a_users_own_limit_wins_in_whichever_order_the_rows_come() -> None:
    rows = [row("user", 3), row("each_user", 7)]
    expected = (Limit(Scope.USER, Metric.REQUESTS, Window.DAY, 3),)
    assert effective_limits(rows, DEFAULTS) == effective_limits(rows[::-1], DEFAULTS) == expected


def test_unlimited_replaces_what_would_be_inherited() -> None:
    assert effective_limits([row("user", None), row("each_user", 7)], DEFAULTS) == ()
    assert effective_limits([row("each_user", None)], DEFAULTS) == ()


def test_nothing_is_a_limit_too() -> None:
    assert effective_limits([row("user", 0)], DEFAULTS) == (Limit(Scope.USER, Metric.REQUESTS, Window.DAY, 0),)


def test_another_metric_or_window_replaces_nothing() -> None:
    rows = [row("user", 1, Metric.TOKENS), row("user", 2, window=Window.MONTH)]
    assert set(effective_limits(rows, DEFAULTS)) == {
        Limit(Scope.USER, Metric.REQUESTS, Window.DAY, 10),
        Limit(Scope.USER, Metric.TOKENS, Window.DAY, 1),
        Limit(Scope.USER, Metric.REQUESTS, Window.MONTH, 2),
    }


def test_the_limits_of_a_tenant_and_of_an_access_token_stand_beside_the_users() -> None:
    rows = [row("tenant", 100), row("access_token", 5)]
    assert set(effective_limits(rows, DEFAULTS)) == {
        Limit(Scope.USER, Metric.REQUESTS, Window.DAY, 10),
        Limit(Scope.TENANT, Metric.REQUESTS, Window.DAY, 100),
        Limit(Scope.ACCESS_TOKEN, Metric.REQUESTS, Window.DAY, 5),
    }


def test_every_limit_says_where_it_comes_from() -> None:
    rows = [row("each_user", None), row("user", 3, Metric.TOKENS), row("tenant", 9)]
    assert set(explain_limits(rows, {**DEFAULTS, (Metric.TOKENS, Window.MONTH): 4})) == {
        EffectiveLimit(Scope.USER, Metric.REQUESTS, Window.DAY, None, LimitSource.EACH_USER),
        EffectiveLimit(Scope.USER, Metric.TOKENS, Window.DAY, 3, LimitSource.OWN),
        EffectiveLimit(Scope.USER, Metric.TOKENS, Window.MONTH, 4, LimitSource.DEFAULT),
        EffectiveLimit(Scope.TENANT, Metric.REQUESTS, Window.DAY, 9, LimitSource.OWN),
    }
