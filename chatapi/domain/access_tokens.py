"""Named access tokens: what one is to be, how long it may live, and what has become of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from chatapi.domain.effective_limits import MOST_LIMITS, highest
from chatapi.domain.limits import Metric
from chatapi.domain.names import name_problem
from chatapi.domain.windows import Window
from chatapi.errors import InvalidInput


class AccessTokenState(StrEnum):
    """What has become of an access token. A live one ends, too, with its user or tenant."""

    LIVE = "live"
    EXPIRED = "expired"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True)
class AccessTokenLimit:
    """A limit of one access token, beside those of its user and tenant. `cost` is in nano-dollars."""

    metric: Metric
    window: Window
    value: int
    model: str = ""  # any


@dataclass(frozen=True, slots=True)
class NewAccessToken:
    """A named access token to be made.

    Args:
        name: of 1 to 200 characters; unique among those of its user that are live.
        days: for so many days; or
        until: the instant at which it expires. Neither: as long as one of `POST /token`, where that is allowed.
        models: patterns of the models that it may ask, of those that its user and tenant may; None: all of these.
        limits: its own.
    """

    name: str
    days: int | None = None
    until: datetime | None = None
    models: Sequence[str] | None = None
    limits: Sequence[AccessTokenLimit] = ()

    def check(self) -> None:
        """See that name and limits can be kept.

        Raises:
            InvalidInput: they cannot.
        """
        if problem := name_problem(self.name):
            raise InvalidInput(f"The access token's name {problem}.")
        if len(self.limits) > MOST_LIMITS:
            raise InvalidInput(f"An access token has at most {MOST_LIMITS} limits of its own.")
        places = {(limit.metric, limit.window, limit.model) for limit in self.limits}
        if len(places) < len(self.limits):
            raise InvalidInput("Two limits are for the same metric, window and model.")
        for limit in self.limits:
            if not 0 <= limit.value <= highest(limit.metric):
                raise InvalidInput(f"A limit of {limit.metric} is a whole number from 0 to {highest(limit.metric)}.")

    def expiry(self, issued_at: datetime, usual_days: int, most_days: int) -> datetime:
        """When it expires, in whole seconds, as claims are.

        Args:
            issued_at: in whole seconds.
            usual_days: for how many days, where nothing is said.
            most_days: for how many days at most.

        Raises:
            InvalidInput: it would be over already, or live too long; or both ways to say it are used.
        """
        if self.days is not None and self.until is not None:
            raise InvalidInput("Say for how many days, or until when, and not both.")
        if self.days is not None and not 1 <= self.days <= most_days:
            raise InvalidInput(f"An access token is made for 1 to {most_days} days.")
        if self.until is None:
            return issued_at + timedelta(days=min(usual_days, most_days) if self.days is None else self.days)
        until = self.until.replace(microsecond=0)
        if until <= issued_at:
            raise InvalidInput("The access token would have expired already.")
        if until > issued_at + timedelta(days=most_days):
            raise InvalidInput(f"An access token lives for at most {most_days} days.")
        return until
