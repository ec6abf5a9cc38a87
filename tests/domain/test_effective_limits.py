"""Which of several limits holds: the nearest one that was set."""

from __future__ import annotations

from chatapi.domain.counters import Named
from chatapi.domain.effective_limits import (
    EffectiveLimit,
    LimitRow,
    LimitSource,
    effective_limits,
    explain_limits,
    named_by,
)
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


def of_model(scope: str, value: int | None, model: str) -> LimitRow:
    return LimitRow(scope, "id", Metric.REQUESTS, Window.DAY, value, model)


def test_a_limit_of_one_model_stands_beside_the_one_of_all_models_and_overrides_its_like_only() -> None:
    rows = [of_model("each_user", 5, "tiny"), of_model("user", 3, "tiny"), of_model("each_user", 4, "large")]
    assert set(effective_limits(rows, DEFAULTS)) == {
        Limit(Scope.USER, Metric.REQUESTS, Window.DAY, 10),
        Limit(Scope.USER, Metric.REQUESTS, Window.DAY, 3, "tiny"),
        Limit(Scope.USER, Metric.REQUESTS, Window.DAY, 4, "large"),
    }
    assert effective_limits([rows[0], of_model("user", None, "tiny")], DEFAULTS) == effective_limits([], DEFAULTS)


def test_counters_of_days_and_months_of_all_models_need_no_limit_that_names_them() -> None:
    rows = [row("user", 3), row("tenant", 9, window=Window.MONTH), row("each_user", 9, Metric.TOKENS)]
    assert named_by(rows) == ()


def test_each_other_counter_is_named_once_also_by_a_limit_that_says_unlimited() -> None:
    rows = [
        row("user", None, window=Window.MINUTE),
        row("each_user", 5, Metric.TOKENS, Window.MINUTE),
        row("tenant", 2, window=Window.AT_ONCE),
        row("access_token", 2, window=Window.AT_ONCE),
        of_model("each_user", 5, "tiny"),
    ]
    named = named_by(rows)
    assert len(named) == 4
    assert set(named) == {
        Named(Scope.USER, Window.MINUTE, ""),
        Named(Scope.TENANT, Window.AT_ONCE, ""),
        Named(Scope.ACCESS_TOKEN, Window.AT_ONCE, ""),
        Named(Scope.USER, Window.DAY, "tiny"),
    }
