"""Windows: the days and months over which a quota is counted, as local dates of the tenant's time zone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo


class Window(StrEnum):
    """Over what a limit is counted. A new window is a new counter: nothing is ever reset."""

    AT_ONCE = "at_once"  # no window at all: what calls in flight hold
    MINUTE = "minute"
    DAY = "day"
    MONTH = "month"


KEPT = (Window.DAY, Window.MONTH)  # what is counted whether it is limited or not


@dataclass(frozen=True, slots=True)
class Zone:
    """A tenant's time zone, and the one that follows it from an instant on: a change waits for open windows to end."""

    name: str
    next_name: str | None = None
    next_from: datetime | None = None

    def at(self, now: datetime) -> ZoneInfo:
        """The time zone in force at `now`."""
        if self.next_name is not None and self.next_from is not None and now >= self.next_from:
            return ZoneInfo(self.next_name)
        return ZoneInfo(self.name)


class Moment(NamedTuple):
    """An instant by the database's clock, in a tenant's time zone. The local date names the windows that are open."""

    now: datetime
    zone: ZoneInfo
    day: str

    @classmethod
    def at(cls, now: datetime, zone: ZoneInfo) -> Moment:
        """This instant there."""
        return cls(now, zone, local_day(now, zone))


def local_day(now: datetime, zone: ZoneInfo) -> str:
    """The local date at `now`, as YYYY-MM-DD: the key of a day's window."""
    return now.astimezone(zone).date().isoformat()


def window_key(window: Window, day: str) -> str:
    """The key of the day's or month's window that holds the local date `day`: the date itself, or YYYY-MM."""
    return day if window is Window.DAY else day[:7]


def minute_key(instant: datetime) -> str:
    """The key of a minute's window, in UTC: local minutes come twice when clocks are put back."""
    return f"{instant.astimezone(UTC):%Y-%m-%dT%H:%MZ}"


def window_end(window: Window, moment: Moment) -> datetime:
    """The instant (UTC) at which the window that holds this moment ends; what is held at once may end at any time."""
    if window is Window.AT_ONCE:
        return moment.now
    if window is Window.MINUTE:
        return moment.now.replace(second=0, microsecond=0) + timedelta(minutes=1)
    return local_end(window, moment.day, moment.zone)


def window_begin(window: Window, moment: Moment) -> datetime:
    """The instant (UTC) at which the minute's, day's or month's window that holds this moment began."""
    if window is Window.MINUTE:
        return moment.now.replace(second=0, microsecond=0)
    first = date.fromisoformat(moment.day)
    first = first if window is Window.DAY else first.replace(day=1)
    return datetime.combine(first, time(), tzinfo=moment.zone).astimezone(UTC)


@lru_cache(maxsize=1024)
def local_end(window: Window, day: str, zone: ZoneInfo) -> datetime:
    """The instant (UTC) at which the day's or month's window that holds a local date ends.

    A day ends at the next local midnight, so it has 23 or 25 hours where the clocks change. Where midnight does not
    exist, `zoneinfo` reads it with the offset before the gap, which is the instant of the change itself.
    """
    first = date.fromisoformat(day)
    following = (
        first + timedelta(days=1)
        if window is Window.DAY
        else (first.replace(day=1) + timedelta(days=32)).replace(day=1)
    )
    return datetime.combine(following, time(), tzinfo=zone).astimezone(UTC)


def seconds_until(instant: datetime, now: datetime) -> int:
    """Whole seconds from `now` until `instant`, rounded up and at least 1: fit for Retry-After."""
    return max(1, math.ceil((instant - now).total_seconds()))
