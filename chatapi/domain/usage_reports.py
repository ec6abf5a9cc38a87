"""Reports of usage: what they may be grouped and filtered by, and what a row of one says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple

Record = dict[str, str | int | None]
"""A row for programs: the names of its columns, in order, and their values."""


class Group(StrEnum):
    """What usage may be grouped by, beside time."""

    TENANT = "tenant"
    USER = "user"
    ACCESS_TOKEN = "access_token"
    MODEL = "model"


class Period(StrEnum):
    """The time that one row is about, in the calendar of the tenant's time zone."""

    DAY = "day"
    MONTH = "month"
    ALL = "all"


DEFAULT_GROUPS = (Group.TENANT, Group.USER, Group.MODEL)
NO_GROUP = "none"


def read_groups(text: str) -> tuple[Group, ...]:
    """Read `tenant,model`, in any order; `none` is no group at all.

    Raises:
        ValueError: that is not what it says.
    """
    if text == NO_GROUP:
        return ()
    names = text.split(",")
    if not set(names) <= set(Group):
        raise ValueError(f"must be some of {', '.join(Group)}, with commas between them, or {NO_GROUP!r}")
    return tuple(group for group in Group if group in names)


@dataclass(frozen=True, slots=True)
class UsageFilter:
    """Which usage, and how it is grouped. What is None does not matter.

    Args:
        tenant: by name; `tenant_id` by id.
        user: by name, which is unique in the installation; `user_id` by id.
        access_token_id: that was called with.
        model: that was called.
        first_day: local days (YYYY-MM-DD) from this one on.
        last_day: up to this one.
        group_by: in the order of `Group`.
        by: the time that one row is about.
    """

    tenant: str | None = None
    user: str | None = None
    first_day: str | None = None
    last_day: str | None = None
    tenant_id: str | None = None
    user_id: str | None = None
    access_token_id: str | None = None
    model: str | None = None
    group_by: tuple[Group, ...] = DEFAULT_GROUPS
    by: Period = Period.DAY


class UsageFigures(NamedTuple):
    """What was charged. `cost` is in nano-dollars, without that of the calls that are `unpriced`: nobody knows it.

    Cached tokens are part of the prompt's, reasoning tokens of the completion's.
    """

    requests: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    reasoning_tokens: int = 0
    cost: int = 0
    unpriced: int = 0

    @property
    def total_tokens(self) -> int:
        """All tokens that were charged."""
        return self.prompt_tokens + self.completion_tokens

    def plus(self, other: UsageFigures) -> UsageFigures:
        """Both together."""
        return UsageFigures(*map(sum, zip(self, other, strict=True)))

    def as_record(self) -> Record:
        """For programs. The cost is null where that of any call is unknown, for unknown is not zero; what is known of
        it is said besides."""
        return {
            "requests": self.requests,
            "prompt_tokens": self.prompt_tokens,
            "cached_tokens": self.cached_tokens,
            "completion_tokens": self.completion_tokens,
            "reasoning_tokens": self.reasoning_tokens,
            "total_tokens": self.total_tokens,
            "cost_nanodollars": None if self.unpriced else self.cost,
            "known_cost_nanodollars": self.cost,
            "unpriced_calls": self.unpriced,
        }


FIGURES = tuple(UsageFigures().as_record())
"""The columns of figures, in order."""

PLACES = {
    Group.TENANT: ("tenant_id", "tenant"),
    Group.USER: ("user_id", "user"),
    Group.ACCESS_TOKEN: ("access_token_id", "access_token"),
    Group.MODEL: ("model",),
}
"""The columns that say what a row is grouped by: ids and names. An access token without a name of its own is the one
that `POST /token` gives."""


@dataclass(frozen=True, slots=True)
class UsageRow:
    """One row of a report. What it is not grouped by is None."""

    figures: UsageFigures
    tenant_id: str | None = None
    tenant: str | None = None
    user_id: str | None = None
    user: str | None = None
    access_token_id: str | None = None
    access_token: str | None = None
    model: str | None = None
    period: str | None = None


@lru_cache(maxsize=128)
def places_of(group_by: tuple[Group, ...], by: Period) -> Mapping[str, str]:
    """The columns that say what a row is about, in order, and the attributes of a row that fill them: what it is
    grouped by, and its day or month."""
    groups = {column: column for group in group_by for column in PLACES[group]}
    return groups if by is Period.ALL else groups | {by.value: "period"}


def columns_of(wanted: UsageFilter) -> tuple[str, ...]:
    """All columns of a report, in order."""
    return (*places_of(wanted.group_by, wanted.by), *FIGURES)


def as_record(row: UsageRow, wanted: UsageFilter) -> Record:
    """A row for programs, with the columns that such a report has."""
    places = places_of(wanted.group_by, wanted.by)
    place: Record = {column: getattr(row, attribute) for column, attribute in places.items()}
    return place | row.figures.as_record()
