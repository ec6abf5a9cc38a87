"""The decision, as a rule over values: what fits, what is shortened, what is denied and why."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from chatapi.domain.limits import (
    Denial,
    DenialKind,
    Fit,
    Limit,
    Metric,
    Need,
    Price,
    Scope,
    Standing,
    decide,
    tightest,
)
from chatapi.domain.windows import Window

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def standing(metric: Metric, value: int, used: int = 0, held: int = 0, hours: int = 12) -> Standing:
    return Standing(Limit(Scope.USER, metric, Window.DAY, value), used, held, NOW + timedelta(hours=hours), NOW)


def rate(window: Window, value: int, used: int = 0, held: int = 0, seconds: int = 40, model: str = "") -> Standing:
    limit = Limit(Scope.TENANT, Metric.REQUESTS, window, value, model)
    return Standing(limit, used, held, NOW + timedelta(seconds=seconds), NOW)


def need(prompt: int = 100, wanted: int = 400, least: int = 16, choices: int = 1) -> Need:
    return Need(prompt, wanted, least, choices)


def denied(decision: Fit | Denial) -> Denial:
    assert isinstance(decision, Denial)
    return decision


def test_without_limits_everything_fits_and_nothing_is_bounded() -> None:
    assert decide(need(), [], NOW) == Fit(400, bounded=False)


def test_a_limit_on_requests_admits_up_to_its_value() -> None:
    assert decide(need(), [standing(Metric.REQUESTS, 10, used=9)], NOW) == Fit(400, bounded=False)
    assert denied(decide(need(), [standing(Metric.REQUESTS, 10, used=10)], NOW)).kind is DenialKind.USED_UP


def test_what_calls_in_flight_hold_is_a_denial_of_its_own_and_may_be_tried_again_at_once() -> None:
    denial = denied(decide(need(), [standing(Metric.REQUESTS, 10, used=9, held=1)], NOW))
    assert (denial.kind, denial.retry_after_s) == (DenialKind.HELD, 1)


def test_what_is_used_up_comes_back_when_its_window_ends() -> None:
    denial = denied(decide(need(), [standing(Metric.REQUESTS, 10, used=10, hours=2)], NOW))
    assert denial.retry_after_s == 2 * 3600


def test_a_limit_of_zero_is_nothing() -> None:
    assert denied(decide(need(), [standing(Metric.REQUESTS, 0)], NOW)).kind is DenialKind.USED_UP


def test_near_its_end_a_limit_on_tokens_shortens_the_completion() -> None:
    assert decide(need(), [standing(Metric.TOKENS, 1000, used=700)], NOW) == Fit(200, bounded=True)


def test_a_shortened_completion_is_divided_evenly_over_the_choices() -> None:
    fit = decide(need(choices=3, least=48), [standing(Metric.TOKENS, 1000, used=700)], NOW)
    assert fit == Fit(198, bounded=True)


def test_below_the_least_completion_a_limit_on_tokens_denies() -> None:
    assert decide(need(), [standing(Metric.TOKENS, 1000, used=884)], NOW) == Fit(16, bounded=True)
    assert denied(decide(need(), [standing(Metric.TOKENS, 1000, used=885)], NOW)).kind is DenialKind.USED_UP


def test_a_call_larger_than_a_limit_is_told_so() -> None:
    denial = denied(decide(need(prompt=2000), [standing(Metric.TOKENS, 1000)], NOW))
    assert denial.kind is DenialKind.TOO_LARGE


def test_of_several_limits_the_one_that_waiting_cannot_help_is_named_and_of_those_the_last_to_reset() -> None:
    held = standing(Metric.REQUESTS, 10, used=9, held=1, hours=30)
    soon = standing(Metric.TOKENS, 100, used=100, hours=3)
    late = standing(Metric.REQUESTS, 5, used=5, hours=20)
    assert denied(decide(need(), [held, soon, late], NOW)).standing is late
    assert denied(decide(need(), [held, soon], NOW)).standing is soon


def test_a_denial_explains_itself() -> None:
    denial = denied(decide(need(), [standing(Metric.REQUESTS, 10, used=9, held=1)], NOW))
    assert denial.explain() == (
        "The limit of 10 requests per day for this user does not allow this call: 9 used, 1 held by calls in flight, "
        "1 needed. It resets at 2026-03-02T00:00:00Z."
    )


def test_a_denial_says_costs_in_dollars() -> None:
    dear = Need(prompt_bound=1, completion_wanted=1, completion_least=1, price=Price(500_000_000, 20_000))
    denial = denied(decide(dear, [standing(Metric.COST, 1_250_000_000, used=750_000_001, held=30)], NOW))
    assert denial.explain() == (
        "The limit of $1.25 cost per day for this user does not allow this call: $0.750000001 used, $0.00000003 held "
        "by calls in flight, $0.50002 needed. It resets at 2026-03-02T00:00:00Z."
    )


def test_a_minute_that_is_used_up_comes_back_within_the_minute() -> None:
    denial = denied(decide(need(), [rate(Window.MINUTE, 3, used=3, seconds=40)], NOW))
    assert (denial.kind, denial.retry_after_s) == (DenialKind.USED_UP, 40)
    assert denial.explain() == (
        "The limit of 3 requests per minute for this tenant does not allow this call: 3 used, 0 held by calls in "
        "flight, 1 needed. It resets at 2026-03-01T12:00:40Z."
    )


def test_calls_at_once_make_room_when_they_end_and_a_window_does_not() -> None:
    denial = denied(decide(need(), [rate(Window.AT_ONCE, 2, held=2, seconds=0, model="tiny")], NOW))
    assert (denial.kind, denial.retry_after_s) == (DenialKind.HELD, 1)
    assert denial.explain() == (
        "The limit of 2 requests of tiny at once for this tenant does not allow this call: 0 used, 2 held by calls in "
        "flight, 1 needed. There is room again when one of them ends."
    )


def test_a_day_that_is_used_up_is_named_rather_than_a_minute_and_that_rather_than_calls_in_flight() -> None:
    day, minute = standing(Metric.REQUESTS, 5, used=5), rate(Window.MINUTE, 3, used=3)
    at_once = rate(Window.AT_ONCE, 1, held=1, seconds=0)
    assert denied(decide(need(), [at_once, minute, day], NOW)).standing is day
    assert denied(decide(need(), [at_once, minute], NOW)).standing is minute
    assert denied(decide(need(), [at_once], NOW)).standing is at_once


def priced(prompt: int, completion: int) -> Need:
    return Need(100, 400, 16, price=Price(prompt, completion))


def test_near_its_end_a_limit_on_cost_shortens_the_completion_to_what_is_affordable() -> None:
    assert decide(priced(2, 10), [standing(Metric.COST, 4200)], NOW) == Fit(400, bounded=True)
    assert decide(priced(2, 10), [standing(Metric.COST, 4200, used=1000, held=995)], NOW) == Fit(200, bounded=True)
    assert decide(priced(2, 10), [standing(Metric.COST, 4200, used=3840)], NOW) == Fit(16, bounded=True)
    denial = denied(decide(priced(2, 10), [standing(Metric.COST, 4200, used=3841)], NOW))
    assert (denial.kind, denial.needed) == (DenialKind.USED_UP, 360)


def test_a_completion_that_costs_nothing_is_not_shortened_for_cost() -> None:
    assert decide(priced(2, 0), [standing(Metric.COST, 200)], NOW) == Fit(400, bounded=True)
    assert denied(decide(priced(2, 0), [standing(Metric.COST, 199)], NOW)).kind is DenialKind.TOO_LARGE


def test_what_is_held_is_as_much_as_it_may_cost() -> None:
    assert priced(2, 10).hold(50) == (1, 150, 700)
    assert need().hold(50) == (1, 150, 0)


figures = st.integers(0, 2000)


@given(
    st.lists(st.tuples(st.sampled_from([Metric.REQUESTS, Metric.TOKENS]), figures, figures, figures), max_size=6),
    st.integers(0, 1500),
    st.integers(1, 1500),
    st.integers(1, 8),
)
def test_what_is_admitted_never_exceeds_any_limit(
    rows: list[tuple[Metric, int, int, int]], prompt: int, per_choice: int, choices: int
) -> None:
    standings = [standing(metric, value, used, held) for metric, value, used, held in rows]
    asked = Need(prompt, per_choice * choices, min(per_choice, 16) * choices, choices)
    decision = decide(asked, standings, NOW)
    if isinstance(decision, Fit):
        bounds = {Metric.REQUESTS: 1, Metric.TOKENS: prompt + decision.completion_granted}
        assert all(s.used + s.held + bounds[s.limit.metric] <= s.limit.value for s in standings)
        assert asked.completion_least <= decision.completion_granted <= asked.completion_wanted
        assert decision.completion_granted % choices == 0
    else:
        least = {Metric.REQUESTS: 1, Metric.TOKENS: prompt + asked.completion_least}
        assert any(s.used + s.held + least[s.limit.metric] > s.limit.value for s in standings)


def test_the_tightest_limit_of_each_metric_is_shown() -> None:
    rows = [standing(Metric.REQUESTS, 10, used=2), standing(Metric.REQUESTS, 100, used=95), standing(Metric.TOKENS, 9)]
    assert tightest(rows) == {Metric.REQUESTS: rows[1], Metric.TOKENS: rows[2]}


def test_what_may_be_in_flight_at_once_is_no_rate_and_not_shown_as_one() -> None:
    day, at_once = standing(Metric.REQUESTS, 10), rate(Window.AT_ONCE, 1)
    assert tightest([at_once, day]) == {Metric.REQUESTS: day}
    assert tightest([at_once]) == {}
