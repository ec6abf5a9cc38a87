"""Which of several limits holds: the nearest one that was set."""

from __future__ import annotations

import pytest

from chatapi.domain.counters import Named
from chatapi.domain.effective_limits import (
    EffectiveLimit,
    Granted,
    LimitPlace,
    LimitRow,
    LimitSetting,
    LimitSource,
    Unset,
    effective_limits,
    explain_limits,
    named_by,
    raises,
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


def test_grants_add_up_to_the_limit_of_their_scope_wherever_it_comes_from() -> None:
    requests = (Metric.REQUESTS, Window.DAY, "")
    grants = [Granted(Scope.USER, *requests, 2), Granted(Scope.USER, *requests, 3), Granted(Scope.TENANT, *requests, 7)]
    for rows, base in (([], 10), ([row("each_user", 20)], 20), ([row("user", 0), row("each_user", 20)], 0)):
        assert effective_limits(rows, DEFAULTS, grants) == (
            Limit(Scope.USER, Metric.REQUESTS, Window.DAY, base + 5, granted=5),
        )
    assert Limit(Scope.TENANT, Metric.REQUESTS, Window.DAY, 8, granted=7) in effective_limits(
        [row("tenant", 1)], DEFAULTS, grants
    )
    (unlimited,) = explain_limits([row("user", None)], DEFAULTS, grants)
    assert (unlimited.value, unlimited.granted) == (None, 0)


def test_a_grant_adds_to_no_other_metric_window_or_model() -> None:
    rows = [row("user", 1, Metric.TOKENS), row("user", 2, window=Window.MONTH), of_model("user", 3, "tiny")]
    for metric, window, model in ((Metric.TOKENS, Window.MONTH, ""), (Metric.REQUESTS, Window.DAY, "large")):
        grants = [Granted(Scope.USER, metric, window, model, 5)]
        assert effective_limits(rows, DEFAULTS, grants) == effective_limits(rows, DEFAULTS)


@pytest.mark.parametrize(
    ("rows", "setting", "expected"),
    [
        ([], 10, False),
        ([], 11, True),
        ([], 9, False),
        ([], Unset.UNLIMITED, True),
        ([], Unset.INHERIT, False),
        ([row("each_user", 5)], 6, True),
        ([row("each_user", 5)], 5, False),
        ([row("each_user", 5)], Unset.INHERIT, True),
        ([row("each_user", 50)], Unset.INHERIT, False),
        ([row("each_user", None)], Unset.UNLIMITED, False),
        ([row("each_user", None)], 10**9, False),
        ([row("user", 1), row("each_user", 5)], Unset.UNLIMITED, False),
        ([row("user", 1, Metric.TOKENS)], 11, True),
    ],
)
def test_what_a_limit_for_each_user_raises(rows: list[LimitRow], setting: LimitSetting, expected: bool) -> None:
    assert raises(rows, LimitPlace(Metric.REQUESTS, Window.DAY), setting, DEFAULTS) is expected


def test_a_default_is_of_all_models_together() -> None:
    tiny = LimitPlace(Metric.REQUESTS, Window.DAY, "tiny")
    assert not raises([], tiny, 11, DEFAULTS)
    assert raises([of_model("each_user", 5, "tiny")], tiny, Unset.INHERIT, DEFAULTS)
    assert not raises([row("each_user", 5)], tiny, 6, DEFAULTS)


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
