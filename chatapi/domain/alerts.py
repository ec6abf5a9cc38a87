"""Alerts: shares of limits that are told to webhooks, when each is told, and what is said.

What counts is what is *used*: what calls in flight hold may come back. Windows of a day and of a month are watched;
limits of a minute and of calls at once are rates, whoever meets them is told so by the 429, and an alert of them could
come every minute.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

import orjson

from chatapi.domain.limits import Metric, Scope
from chatapi.domain.windows import Window

DEFAULT_SHARES = (80, 100)
MOST_SHARES = 10
SHARE_REACHED = "limit.share_reached"
TEST = "webhook.test"
MOST_TOLD = 10
"""How often one share of one limit is told in one window; again only where the limit was raised in between."""
LONGEST_PAUSE_S = 3600.0


class Watched(NamedTuple):
    """A limit in one window, as its counter stands: value and used in the metric's unit (cost: nano-dollars)."""

    scope: Scope
    scope_id: str
    metric: Metric
    window: Window
    window_key: str
    model: str
    value: int
    used: int
    user_id: str | None = None


class Occasion(NamedTuple):
    """A share of a limit that has been reached; `amount` of its metric is that share."""

    watched: Watched
    share: int
    amount: int

    @property
    def key(self) -> str:
        """Tells occasions apart. The limit's value is no part of it: `is_news` says what a raised limit means."""
        scope, scope_id, metric, window, window_key, model, *_ = self.watched
        return orjson.dumps([scope, scope_id, metric, window, window_key, model, self.share]).decode()

    def key_of(self, number: int) -> str:
        """The key by which it is told for the first time (0) in its window, or once more."""
        return self.key if number == 0 else f"{self.key}#{number}"


@dataclass(frozen=True, slots=True)
class Names:
    """What people call those whom an event is about."""

    tenant: str
    user: str | None
    access_token: str | None = None


def check_shares(shares: Iterable[int]) -> tuple[int, ...]:
    """Shares of limits in percent, sorted, each once.

    Raises:
        ValueError: there are none, too many, or one that is no share; the message says what would be right.
    """
    found = tuple(sorted(set(shares)))
    if not 1 <= len(found) <= MOST_SHARES or not all(1 <= share <= 100 for share in found):
        raise ValueError(f"must be 1 to {MOST_SHARES} whole percentages from 1 to 100")
    return found


def reached(watched: Watched, shares: Iterable[int]) -> list[Occasion]:
    """The shares of a limit that have been reached. A limit of 0, of which nothing can be used, has none."""
    if watched.value <= 0:
        return []
    amounts = ((share, -(-watched.value * share // 100)) for share in shares)
    return [Occasion(watched, share, amount) for share, amount in amounts if watched.used >= amount]


def is_news(occasion: Occasion, told_used: Mapping[int, int]) -> int | None:
    """Whether this is to be told, and as the how-manieth of its window; None where it has been told.

    It is told once in a window, and again where the limit has been raised since so far that its share lies above all
    that had been used then.

    Args:
        occasion: what has been reached.
        told_used: what had been used each time that it was told, by number.
    """
    number = len(told_used)
    if number >= MOST_TOLD or any(used >= occasion.amount for used in told_used.values()):
        return None
    return number


def event(event_id: str, kind: str, occurred_at: datetime, data: Mapping[str, object]) -> str:
    """The JSON of an event, the same at every try: as Standard Webhooks 1.0.0 has it under "Payload structure"."""
    said = {"id": event_id, "type": kind, "timestamp": f"{occurred_at:%Y-%m-%dT%H:%M:%SZ}", "data": data}
    return orjson.dumps(said).decode()


def said_of(occasion: Occasion, tenant_id: str, names: Names, resets_at: datetime) -> dict[str, object]:
    """The data of an event that tells an occasion."""
    watched = occasion.watched
    return {
        "tenant": names.tenant,
        "tenant_id": tenant_id,
        "scope": watched.scope.value,
        "scope_id": watched.scope_id,
        "user": names.user,
        "user_id": watched.user_id,
        "access_token": names.access_token,
        "metric": watched.metric.value,
        "window": watched.window.value,
        "window_key": watched.window_key,
        "model": watched.model or None,
        "limit": watched.value,
        "used": watched.used,
        "share": occasion.share,
        "resets_at": f"{resets_at:%Y-%m-%dT%H:%M:%SZ}",
    }


def used_of(body: str) -> int:
    """What an event says had been used."""
    used: int = orjson.loads(body)["data"]["used"]
    return used


def pause_s(tries: int, first_s: float, chance: float) -> float:
    """How long to wait after so many tries: twice as long each time, up to an hour, give or take a fifth by chance.

    Args:
        tries: that have failed, at least 1.
        first_s: seconds after the first one.
        chance: from 0 to 1, so that alerts which failed together do not come again together.
    """
    longest = max(first_s, LONGEST_PAUSE_S)
    return min(longest, min(longest, first_s * 2.0 ** min(tries - 1, 30)) * (0.8 + 0.4 * chance))
