"""Retention: for how long calls are kept, and the months by which they are stored.

What is old is decided by a call's local day, which its windows are named by, so that a cut never leaves half a day.
Where a call is stored is decided by its id, whose first 48 bits are the milliseconds since 1970 (UUID version 7,
RFC 9562 section 5.7).
"""

from __future__ import annotations

import re
from calendar import monthrange
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from uuid import UUID

UNITS = {"day": 1, "week": 7, "month": 0, "year": 0}  # days; months and years are counted by the calendar
LEAST_DAYS = 31
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LAST_ZONE = timezone(timedelta(hours=-12))  # where every date, and so every month, ends last


@dataclass(frozen=True, slots=True)
class Keep:
    """For how long calls are kept: so many days, and so many months by the calendar."""

    days: int
    months: int

    @classmethod
    def parse(cls, text: str) -> Keep:
        """Read `13months`, `400days`, `60weeks` or `2years`; the last `s` may be missing.

        Raises:
            ValueError: it is none of these, or so short that it could cut into windows that are open.
        """
        found = re.fullmatch(r"(\d{1,5}) ?(day|week|month|year)s?", text.strip())
        if found is None:
            raise ValueError(f"{text!r} is no time to keep calls for: say 13months, 400days, 60weeks or 2years")
        number, unit = int(found[1]), found[2]
        keep = cls(number * UNITS[unit], number * {"month": 1, "year": 12}.get(unit, 0))
        if keep.months < 1 and keep.days < LEAST_DAYS:
            raise ValueError(f"the calls of the current month are needed: say at least {LEAST_DAYS}days or 1month")
        if keep.months > 1200 or keep.days > 36525:
            raise ValueError(f"{text!r} is more than a hundred years")
        return keep

    def first_day(self, now: datetime) -> str:
        """The first local day (YYYY-MM-DD) that is kept at `now`; never one of a month that is open anywhere."""
        today = now.astimezone(UTC).date()
        month = today.year * 12 + today.month - 1 - self.months
        year, month = month // 12, month % 12 + 1
        back = date(year, month, min(today.day, monthrange(year, month)[1])) - timedelta(days=self.days)
        open_month = now.astimezone(LAST_ZONE).date().replace(day=1)
        return min(back, open_month).isoformat()


@dataclass(frozen=True, slots=True, order=True)
class Month:
    """A month in UTC: what one partition of the calls holds."""

    year: int
    month: int

    @classmethod
    def of(cls, instant: datetime) -> Month:
        """The month that holds the instant."""
        utc = instant.astimezone(UTC)
        return cls(utc.year, utc.month)

    @classmethod
    def parse(cls, text: str) -> Month:
        """Read what `str` wrote."""
        year, month = text.split("_")
        return cls(int(year), int(month))

    def __str__(self) -> str:
        return f"{self.year:04}_{self.month:02}"

    @property
    def following(self) -> Month:
        """The month after it."""
        return Month(self.year + self.month // 12, self.month % 12 + 1)

    @property
    def first_day(self) -> str:
        """Its first day, as YYYY-MM-DD."""
        return f"{self.year:04}-{self.month:02}-01"

    @property
    def first_id(self) -> UUID:
        """The least id that a call may have which was made in it."""
        return first_id(datetime(self.year, self.month, 1, tzinfo=UTC))

    def ended_long_before(self, first_day: str) -> bool:
        """Whether even the last calls made in it belong to earlier days than `first_day`, everywhere on Earth."""
        return (date.fromisoformat(first_day) - timedelta(days=2)).isoformat() > self.following.first_day


def months_from(now: datetime, ahead: int) -> list[Month]:
    """The current month and so many after it."""
    months = [Month.of(now)]
    for _ in range(ahead):
        months.append(months[-1].following)
    return months


def first_id(instant: datetime) -> UUID:
    """The least time-ordered id of an instant."""
    return UUID(int=((instant - EPOCH) // timedelta(milliseconds=1)) << 80)


def beyond_ids(first_day: str) -> UUID:
    """An id above those of all calls of earlier days: a local day may last until 12:00 UTC of the next, and the clocks
    that make ids may be a day ahead of the one that days are told by."""
    return first_id(datetime.combine(date.fromisoformat(first_day), time(), tzinfo=UTC) + timedelta(days=2))
