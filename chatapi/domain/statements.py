"""A month's statement of one tenant: what it was charged, by whom and which model, and what may still change."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import NamedTuple

from chatapi.domain.limits import Amount
from chatapi.domain.money import NANODOLLARS
from chatapi.domain.usage_reports import FIGURES, Record, UsageFigures, UsageRow
from chatapi.domain.windows import Window, Zone, local_end


class LocalMonth(NamedTuple):
    """A month of a tenant's calendar."""

    year: int
    month: int

    @classmethod
    def parse(cls, text: str) -> LocalMonth:
        """Read `2026-11`.

        Raises:
            ValueError: that is no month.
        """
        found = re.fullmatch(r"(2[0-9]{3})-(0[1-9]|1[0-2])", text)
        if found is None:
            raise ValueError(f"{text[:20]!r} is no month from 2000 on: say 2026-11")
        return cls(int(found[1]), int(found[2]))

    def __str__(self) -> str:
        return f"{self.year:04}-{self.month:02}"

    @property
    def first_day(self) -> str:
        """Its first day, as YYYY-MM-DD."""
        return f"{self}-01"

    @property
    def last_day(self) -> str:
        """Its last day."""
        following = (date.fromisoformat(self.first_day) + timedelta(days=32)).replace(day=1)
        return (following - timedelta(days=1)).isoformat()

    def span(self, zone: Zone) -> tuple[datetime, datetime]:
        """The instants (UTC) at which it begins and ends, in the time zone that is in force then."""
        noon = datetime.combine(date.fromisoformat(self.first_day), time(12), UTC)
        there = zone.at(noon + timedelta(days=14))
        begin = datetime.combine(date.fromisoformat(self.first_day), time(), tzinfo=there).astimezone(UTC)
        return begin, local_end(Window.MONTH, self.first_day, there)


class CallsOfKind(NamedTuple):
    """Calls of the month that are in the ledger, of one state and source of usage, and what they come to.

    Args:
        state: of `CallState`.
        source: of `UsageSource`.
        calls: how many.
        charged: what they were charged.
        unpriced: how many of them are of unknown cost.
        held: what they hold, while they are in flight.
    """

    state: str
    source: str
    calls: int
    charged: Amount
    unpriced: int
    held: Amount


@dataclass(frozen=True, slots=True)
class ZoneChange:
    """When a tenant's time zone was changed, by whom, and from and to what where the trail says it: of a change that
    waits for open windows to end it has the new one alone."""

    at: datetime
    actor: str
    before: str | None
    after: str | None


@dataclass(frozen=True, slots=True)
class Check:
    """Two figures that must agree, by their names, and whether they do."""

    what: str
    expected: Record
    found: Record

    @property
    def holds(self) -> bool:
        """Whether they agree."""
        return self.expected == self.found

    def as_record(self) -> dict[str, object]:
        """For programs."""
        return {"what": self.what, "holds": self.holds, "total": self.expected, "found": self.found}


@dataclass(frozen=True, slots=True)
class Statement:
    """All of a statement but its lines by user and model, which may be many.

    Args:
        tenant_id, tenant: whose.
        month: of the tenant's calendar.
        zone: of that calendar.
        made_at: by the database's clock.
        total: of the roll-ups.
        by_model: of the roll-ups.
        calls: those that are still in the ledger.
        attempts_at_risk: attempts whose fate nobody saw: their upstream may charge for them.
        counter: of the tenant and month, as limits are measured by it.
        calls_since: the first local day whose calls are all there; '' where none was deleted.
        zone_changes: that were made until now, the latest first.
    """

    tenant_id: str
    tenant: str
    month: LocalMonth
    zone: Zone
    made_at: datetime
    total: UsageFigures
    by_model: tuple[UsageRow, ...]
    calls: tuple[CallsOfKind, ...]
    attempts_at_risk: int
    counter: Amount
    calls_since: str
    zone_changes: tuple[ZoneChange, ...] = field(default=())

    @property
    def is_over(self) -> bool:
        """Whether no call can be admitted to the month any more."""
        return self.made_at >= self.month.span(self.zone)[1]

    @property
    def has_all_calls(self) -> bool:
        """Whether retention has deleted no call of the month."""
        return self.calls_since <= self.month.first_day

    @property
    def is_complete(self) -> bool:
        """Whether the month is over and none of its calls is in flight."""
        return self.is_over and not self.of_state("held").calls

    def of_state(self, state: str, source: str | None = None) -> CallsOfKind:
        """The calls in this state, with this source of usage, together."""
        some = [each for each in self.calls if each.state == state and source in (None, each.source)]
        charged, held = Amount(0, 0, 0), Amount(0, 0, 0)
        for each in some:
            charged, held = charged.plus(each.charged), held.plus(each.held)
        calls, unpriced = sum(each.calls for each in some), sum(each.unpriced for each in some)
        return CallsOfKind(state, source or "", calls, charged, unpriced, held)

    def checks(self, lines: UsageFigures) -> Iterator[Check]:
        """What must agree with the total: the lines together, the counter, and the calls where they are all there."""
        total = self.total.as_record()
        yield Check("the lines by user and model", total, lines.as_record())
        short = _amount(Amount(self.total.requests, self.total.total_tokens, self.total.cost))
        yield Check("the month's counter of the tenant", short, _amount(self.counter))
        if self.has_all_calls:
            charged = self.of_state("settled").charged.plus(self.of_state("expired").charged)
            yield Check("the calls in the ledger", short, _amount(charged))


def in_exact_dollars(nanodollars: int) -> str:
    """The amount in dollars as a plain decimal, exact to the nano-dollar."""
    exact = Decimal(nanodollars) / NANODOLLARS
    return f"{exact:f}" if exact else "0"


def line_record(row: UsageRow | None, figures: UsageFigures) -> Record:
    """A line for programs: the figures, and their cost in dollars, too."""
    place: Record = {} if row is None else {"user_id": row.user_id, "user": row.user, "model": row.model}
    cost = in_exact_dollars(figures.cost)
    dollars: Record = {"cost_dollars": None if figures.unpriced else cost, "known_cost_dollars": cost}
    return place | figures.as_record() | dollars


LINE_COLUMNS = ("kind", "user_id", "user", "model", *FIGURES, "cost_dollars", "known_cost_dollars")
"""The columns of a statement as CSV; `kind` is `line`, `model` or `total`."""


def _amount(amount: Amount) -> Record:
    return {"requests": amount.requests, "total_tokens": amount.tokens, "known_cost_nanodollars": amount.cost}
