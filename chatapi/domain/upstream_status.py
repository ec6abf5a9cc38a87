"""How upstreams are: what each worker saw of them, as JSON beside its lease, and all of it together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Literal

import orjson

Breaking = Literal["closed", "resting", "trying", "open"]
"""Called as ever; left alone until the time that it named; failed, and one call tries it; failed, and left alone."""
WORST: Sequence[Breaking] = ("closed", "resting", "trying", "open")


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """How one model fares at one upstream, as one worker sees it.

    Args:
        upstream: its name.
        model: that was asked for; no alias.
        breaker: whether it may be called.
        rests_s: for how many seconds it is left alone from now on.
        failures: so many calls in a row have failed.
        recent_failures: so many have failed within the last five minutes.
        in_flight: so many calls are under way.
        last_error: what kind of error the last one was, in a word; None: there was none.
        last_error_at: seconds since 1970, by the worker's clock.
    """

    upstream: str
    model: str
    breaker: Breaking = "closed"
    rests_s: float = 0.0
    failures: int = 0
    recent_failures: int = 0
    in_flight: int = 0
    last_error: str | None = None
    last_error_at: float | None = None

    @property
    def failed_at(self) -> datetime | None:
        """When the last error was."""
        return None if self.last_error_at is None else datetime.fromtimestamp(self.last_error_at, UTC)


def written(statuses: Iterable[ModelStatus]) -> str:
    """As they stand beside a lease."""
    return orjson.dumps([asdict(status) for status in statuses]).decode()


def read(text: str | None) -> list[ModelStatus]:
    """What stands there; nothing where a worker of another version wrote something else."""
    try:
        return [ModelStatus(**each) for each in orjson.loads(text or "[]")]
    except (TypeError, ValueError):
        return []


def merged(statuses: Sequence[ModelStatus]) -> ModelStatus:
    """What several workers see of the same model at the same upstream, the worst of it."""
    worst = max(statuses, key=lambda status: (WORST.index(status.breaker), status.rests_s))
    last = max(statuses, key=lambda status: status.last_error_at or 0.0)
    return ModelStatus(
        upstream=worst.upstream,
        model=worst.model,
        breaker=worst.breaker,
        rests_s=worst.rests_s,
        failures=max(status.failures for status in statuses),
        recent_failures=sum(status.recent_failures for status in statuses),
        in_flight=sum(status.in_flight for status in statuses),
        last_error=last.last_error,
        last_error_at=last.last_error_at,
    )
