"""Which limits hold for one user: its own, else its tenant's for each user, else the installation's; and its tenant's;
each with what was granted besides for the window that is open.

The one place of this rule: admissions decide by it, and `chatapi limits show` explains it.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from chatapi.domain.counters import Named
from chatapi.domain.limits import Limit, Metric, Scope
from chatapi.domain.money import MOST_NANODOLLARS, read_dollars
from chatapi.domain.windows import KEPT, Window

Defaults = Mapping[tuple[Metric, Window], int]


class LimitScope(StrEnum):
    """Whom a limit that was set is for. `each_user`: every user of the tenant that has none of its own."""

    ACCESS_TOKEN = "access_token"
    USER = "user"
    EACH_USER = "each_user"
    TENANT = "tenant"


class LimitSource(StrEnum):
    """Where a limit in force comes from."""

    OWN = "own"  # set for exactly this scope
    EACH_USER = "each_user"  # the tenant's, for each of its users
    DEFAULT = "default"  # the installation's settings


class Unset(StrEnum):
    """What can be said instead of a number: no limit at all, or whatever would hold if nothing had been set."""

    UNLIMITED = "unlimited"
    INHERIT = "inherit"


LimitSetting = int | Unset
HIGHEST_LIMIT = 10**15
MOST_LIMITS = 200
"""Set for one tenant, each user of one, one user or one access token: every admission reads those that concern it."""


def read_limit(text: str, metric: Metric = Metric.REQUESTS) -> LimitSetting:
    """Read a limit as people write it: a whole number of 0 or more, `unlimited`, or nothing (or `inherit`) to inherit.

    Of `cost` it is an amount of US dollars, such as 12.50, and read as nano-dollars.

    Raises:
        ValueError: it is none of these; the message says what would be right and does not repeat what was given.
    """
    word = text.strip().lower()
    if word in ("", Unset.INHERIT):
        return Unset.INHERIT
    if word == Unset.UNLIMITED:
        return Unset.UNLIMITED
    if metric is Metric.COST:
        try:
            return read_dollars(word)
        except ValueError:
            problem = "must be an amount of dollars, such as 12.50, or 'unlimited', or empty to inherit"
            raise ValueError(problem) from None
    if word.isascii() and word.isdigit() and len(word) <= len(str(HIGHEST_LIMIT)) and int(word) <= HIGHEST_LIMIT:
        return int(word)
    raise ValueError("must be a whole number from 0 to 10^15, or 'unlimited', or empty to inherit")


class LimitPlace(NamedTuple):
    """Which of a scope's limits: on what, over how long, and of which model, as upstreams name it ('': of any)."""

    metric: Metric
    window: Window
    model: str = ""

    def __str__(self) -> str:
        when = "at once" if self.window is Window.AT_ONCE else f"per {self.window}"
        return f"{self.metric} {when}" + (f" of {self.model}" if self.model else "")


@dataclass(frozen=True, slots=True)
class LimitRow:
    """A limit as it was set. `value` None says: unlimited, whatever would be inherited."""

    scope: str
    scope_id: str
    metric: Metric
    window: Window
    value: int | None
    model: str = ""  # '' is any


class Granted(NamedTuple):
    """So much more than its limit that a scope was granted, in the window that is open."""

    scope: Scope
    metric: Metric
    window: Window
    model: str  # '' is any
    value: int


@dataclass(frozen=True, slots=True)
class EffectiveLimit:
    """A limit in force for one scope, and where it comes from. `value` None: unlimited, and somebody said so.

    `granted` of the value was granted for the window that is open only.
    """

    scope: Scope
    metric: Metric
    window: Window
    value: int | None
    source: LimitSource
    model: str = ""
    granted: int = 0


def explain_limits(
    rows: Iterable[LimitRow], defaults: Defaults, grants: Iterable[Granted] = ()
) -> tuple[EffectiveLimit, ...]:
    """The limits that concern one user, each with its source.

    Per metric, window and model, the user's is its own row, else its tenant's `each_user`, else the default. Limits
    of the tenant and of the access token are rows of their own and inherit nothing. Grants add up, wherever the limit
    comes from; to what is unlimited they add nothing.

    Args:
        rows: the rows of this user, of its tenant (`tenant`, `each_user`) and of its access token; nobody else's.
        defaults: the installation's limits for every user; what is absent is unlimited.
        grants: to this user, its tenant and its access token, in windows that are open; nobody else's.
    """
    found: dict[tuple[Scope, Metric, Window, str], tuple[int | None, LimitSource]] = {
        (Scope.USER, *place, ""): (value, LimitSource.DEFAULT) for place, value in defaults.items()
    }
    own_last = sorted(rows, key=lambda row: row.scope != LimitScope.EACH_USER)
    for row in own_last:
        inherited = row.scope == LimitScope.EACH_USER
        scope = Scope.USER if inherited else Scope(row.scope)
        source = LimitSource.EACH_USER if inherited else LimitSource.OWN
        found[scope, row.metric, row.window, row.model] = (row.value, source)
    more: Tally[tuple[Scope, Metric, Window, str]] = Tally()
    for grant in grants:
        more[grant.scope, grant.metric, grant.window, grant.model] += grant.value
    effective = []
    for (scope, metric, window, model), (value, source) in found.items():
        granted = 0 if value is None else more[scope, metric, window, model]
        whole = None if value is None else value + granted
        effective.append(EffectiveLimit(scope, metric, window, whole, source, model, granted))
    return tuple(effective)


def effective_limits(rows: Iterable[LimitRow], defaults: Defaults, grants: Iterable[Granted] = ()) -> tuple[Limit, ...]:
    """The limits that an admission must keep: `explain_limits` without what is unlimited."""
    return tuple(
        Limit(limit.scope, limit.metric, limit.window, limit.value, limit.model, limit.granted)
        for limit in explain_limits(rows, defaults, grants)
        if limit.value is not None
    )


def raises(rows: Iterable[LimitRow], place: LimitPlace, setting: LimitSetting, defaults: Defaults) -> bool:
    """Whether setting its tenant's limit for each user to this would let a user do more than it may now.

    Args:
        rows: the rows of this user and of its tenant for each user.
        place: which limit is set.
        setting: to what.
        defaults: the installation's limits for every user.
    """
    there = {LimitScope(row.scope): row.value for row in rows if (row.metric, row.window, row.model) == place}
    if LimitScope.USER in there:
        return False
    default = None if place.model else defaults.get((place.metric, place.window))
    now = there.get(LimitScope.EACH_USER, default)
    after = default if setting is Unset.INHERIT else None if setting is Unset.UNLIMITED else setting
    return now is not None and (after is None or after > now)


def highest(metric: Metric) -> int:
    """The most that a limit on this metric can be."""
    return MOST_NANODOLLARS if metric is Metric.COST else HIGHEST_LIMIT


def named_by(rows: Iterable[LimitRow]) -> tuple[Named, ...]:
    """The counters that are kept only because one of these limits names them, also one that says "unlimited"."""
    scopes = {(Scope.USER if row.scope == LimitScope.EACH_USER else Scope(row.scope), row) for row in rows}
    return tuple({Named(scope, row.window, row.model) for scope, row in scopes if row.window not in KEPT or row.model})
