"""Which upstream is tried first, which next, and when one is left alone: rules without any connection.

All of it is one process's own knowledge: processes that see the same upstream fail come to the same opinion.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Hashable, Iterable
from functools import lru_cache
from typing import Protocol, TypeVar

from chatapi.domain.upstream_status import Breaking

MOST_MODELS = 1024


class Weighted(Protocol):
    """What can be chosen: in proportion to its weight; with weight 0 only when all others have failed."""

    @property
    def weight(self) -> float:
        """Not negative."""


W = TypeVar("W", bound=Weighted)


def in_order(candidates: Iterable[W], rng: random.Random | None = None) -> list[W]:
    """The candidates in the order in which to try them.

    The first is chosen by weight, the second by weight among the others, and so on; those of weight 0 come last, as
    they were given. Source: Efraimidis and Spirakis, "Weighted random sampling with a reservoir", 2006.
    """
    draw = (rng or random).random
    return sorted(candidates, key=lambda one: -math.log(1.0 - draw()) / one.weight if one.weight else math.inf)


class Breaker:
    """Leaves an upstream alone that keeps failing, and lets a single call try again after a while.

    Args:
        failures: so many in a row open it.
        open_s: for so many seconds nobody tries; then one call may, and what becomes of it decides.
        clock: seconds, monotonic.
    """

    def __init__(self, failures: int, open_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._most_failures = failures
        self._open_s = open_s
        self._clock = clock
        self._failures = 0
        self._tried_from = 0.0  # when it may be tried again; in the past: now
        self._rested_at = 0.0

    @property
    def opens_after_s(self) -> float:
        """How many seconds it is left alone from now on; 0 when it may be tried."""
        return max(0.0, max(self._tried_from, self._rested_at) - self._clock())

    @property
    def failures(self) -> int:
        """How many have failed in a row."""
        return self._failures

    @property
    def state(self) -> Breaking:
        """Whether it may be tried."""
        if self._failures < self._most_failures:
            return "resting" if self.opens_after_s else "closed"
        return "open" if self.opens_after_s else "trying"

    def take(self) -> bool:
        """Whether a call may try now. Of an upstream that has failed, one at a time may."""
        if self.opens_after_s:
            return False
        if self._failures >= self._most_failures:
            self._tried_from = self._clock() + self._open_s  # the others wait for this one
        return True

    def succeeded(self) -> None:
        """The upstream has answered, be it with a refusal."""
        self._failures = 0
        self._tried_from = 0.0

    def failed(self) -> None:
        """The upstream could not be reached, said that it failed, or was silent for too long."""
        self._failures += 1
        if self._failures >= self._most_failures:
            self._tried_from = self._clock() + self._open_s

    def rest(self, seconds: float) -> None:
        """The upstream asks to be left alone for so long."""
        self._rested_at = max(self._rested_at, self._clock() + seconds)


class Breakers:
    """The breakers of one upstream, one for each model: that one fails says nothing of the others. Calls with
    tenants' own keys have their own: what such an account is refused says nothing of anybody else's.

    Args:
        make: a new breaker.
    """

    def __init__(self, make: Callable[[], Breaker]) -> None:
        self._of = lru_cache(MOST_MODELS)(lambda _model: make())
        self._of_own = lru_cache(MOST_MODELS)(lambda _model, _own: make())

    def of(self, model: str, own: Hashable | None = None) -> Breaker:
        """The breaker of a model, and of an own key where the call has one. Names are the clients', so only those that
        were used last are remembered."""
        return self._of(model) if own is None else self._of_own(model, own)


class RetryBudget:
    """Bounds how much a failing upstream multiplies the load on the others: one more try for so many calls.

    Args:
        share: tries beyond the first, as a share of the calls.
        reserve: so many may be saved, and are there at the start.
    """

    def __init__(self, share: float, reserve: float) -> None:
        self._share = share
        self._reserve = self._saved = reserve

    def begin(self) -> None:
        """A call begins."""
        self._saved = min(self._reserve, self._saved + self._share)

    def spend(self) -> bool:
        """Whether one more try may be made; it is counted."""
        if self._saved < 1.0:
            return False
        self._saved -= 1.0
        return True
