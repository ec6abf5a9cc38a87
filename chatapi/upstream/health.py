"""How models have fared at one upstream, as this process saw it: for whoever looks after it, and for nothing else."""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping

from chatapi.domain.routing import Breaker
from chatapi.domain.upstream_status import ModelStatus
from chatapi.errors import UpstreamError

RECENT_S = 300.0
MOST_RECENT = 1000  # failures that are counted
MOST_MODELS = 100  # the names are the clients': only those that were asked for last are told of


class Fares:
    """How one model has fared."""

    __slots__ = ("_failed_at", "last_error", "last_error_at")

    def __init__(self) -> None:
        self._failed_at: deque[float] = deque(maxlen=MOST_RECENT)
        self.last_error: str | None = None
        self.last_error_at: float | None = None

    def fail(self, error: UpstreamError) -> None:
        """It has failed like this."""
        self._failed_at.append(time.monotonic())
        status = "" if error.status is None else f" {error.status}"
        self.last_error = f"{_words(type(error).__name__.removeprefix('Upstream'))}{status}"
        self.last_error_at = time.time()

    def recent_failures(self) -> int:
        """How often it has failed within the last five minutes."""
        since = time.monotonic() - RECENT_S
        return sum(failed_at >= since for failed_at in tuple(self._failed_at))


class Health:
    """How the models of one upstream have fared."""

    def __init__(self) -> None:
        self._models: dict[str, Fares] = {}

    def of(self, model: str) -> Fares:
        """How a model has; it is known from now on."""
        fares = self._models[model] = self._models.pop(model, Fares())  # the newest now
        while len(self._models) > MOST_MODELS:
            self._models.pop(next(iter(self._models)), None)
        return fares

    def statuses(
        self, upstream: str, in_flight: Mapping[str, int], breaker_of: Callable[[str], Breaker] | None
    ) -> Iterator[ModelStatus]:
        """How each model fares that was asked for, or is now.

        Args:
            upstream: its name.
            in_flight: by model, the calls that are under way.
            breaker_of: the breaker of a model, where there are any.
        """
        known = dict(self._models)
        newest = list(dict.fromkeys([*in_flight, *reversed(known)]))[:MOST_MODELS]
        for model in sorted(newest):
            fares, breaker = known.get(model), breaker_of and breaker_of(model)
            yield ModelStatus(
                upstream=upstream,
                model=model,
                breaker="closed" if breaker is None else breaker.state,
                rests_s=0.0 if breaker is None else round(breaker.opens_after_s, 1),
                failures=0 if breaker is None else breaker.failures,
                recent_failures=0 if fares is None else fares.recent_failures(),
                in_flight=in_flight.get(model, 0),
                last_error=None if fares is None else fares.last_error,
                last_error_at=None if fares is None else fares.last_error_at,
            )


def _words(name: str) -> str:
    """RateLimited as rate_limited."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
