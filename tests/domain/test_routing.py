"""The order in which upstreams are tried, the breaker, and the retry budget."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass

import pytest

from chatapi.domain.routing import Breaker, RetryBudget, in_order


@dataclass(frozen=True)
class One:
    """Something to choose."""

    name: str
    weight: float


class Clock:
    """A clock that is set."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_first_is_chosen_by_weight_and_weight_zero_comes_last() -> None:
    rng = random.Random(1)
    ones = [One("spare", 0), One("a", 3), One("b", 1), One("other spare", 0)]
    orders = [[one.name for one in in_order(ones, rng)] for _ in range(4000)]
    firsts = Counter(order[0] for order in orders)
    assert firsts["a"] + firsts["b"] == 4000
    assert firsts["a"] / 4000 == pytest.approx(0.75, abs=0.03)
    assert all(order[2:] == ["spare", "other spare"] for order in orders)


def test_a_breaker_opens_after_failures_in_a_row_and_lets_one_call_try() -> None:
    clock = Clock()
    breaker = Breaker(3, 10.0, clock)
    breaker.failed()
    breaker.failed()
    breaker.succeeded()  # not in a row
    breaker.failed()
    breaker.failed()
    assert breaker.take()
    breaker.failed()
    assert not breaker.take()
    assert breaker.opens_after_s == 10.0
    clock.now += 10.0
    assert breaker.take()
    assert not breaker.take(), "one at a time"
    breaker.failed()
    clock.now += 9.9
    assert not breaker.take()
    clock.now += 0.1
    assert breaker.take()
    breaker.succeeded()
    assert breaker.take() and breaker.take()


def test_a_try_whose_end_nobody_learns_blocks_the_next_for_a_while_only() -> None:
    clock = Clock()
    breaker = Breaker(1, 10.0, clock)
    breaker.failed()
    clock.now += 10.0
    assert breaker.take()
    clock.now += 10.0
    assert breaker.take()


def test_an_upstream_that_asks_for_rest_has_it() -> None:
    clock = Clock()
    breaker = Breaker(3, 10.0, clock)
    breaker.rest(4.0)
    breaker.succeeded()  # an earlier call
    assert not breaker.take()
    assert breaker.opens_after_s == 4.0
    clock.now += 4.0
    assert breaker.take() and breaker.take()


def test_the_budget_allows_a_share_of_the_calls_and_a_reserve() -> None:
    budget = RetryBudget(0.2, 3)
    assert [budget.spend() for _ in range(4)] == [True, True, True, False]
    spent = 0
    for _ in range(1000):
        budget.begin()
        spent += budget.spend()
    assert 199 <= spent <= 200
