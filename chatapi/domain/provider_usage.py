"""What a provider says was used, as an export of any kind says it: by day (UTC) and model."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from typing import NamedTuple, TypeVar

from chatapi.errors import InvalidInput

N = TypeVar("N", int, Decimal)

MOST_CELLS = 200_000  # days and models that are compared at once
MOST_PROBLEMS = 1000  # that are said; more are counted
MOST_OF_A_FIGURE = 10**18


class Figures(NamedTuple):
    """What was used; None: the export does not say. The cost is in dollars."""

    requests: int | None = None
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    completion_tokens: int | None = None
    cost: Decimal | None = None

    def plus(self, other: Figures) -> Figures:
        """Both together; what only one says is what it says."""
        return Figures(
            _plus(self.requests, other.requests),
            _plus(self.prompt_tokens, other.prompt_tokens),
            _plus(self.cached_tokens, other.cached_tokens),
            _plus(self.completion_tokens, other.completion_tokens),
            _plus(self.cost, other.cost),
        )


def _plus(one: N | None, other: N | None) -> N | None:
    if one is None or other is None:
        return other if one is None else one
    return one + other


@dataclass
class Export:
    """All that the files of one export say. Problems and remarks are gathered on the way.

    Attributes:
        kind: `openai` or `azure`; '' before anything was read.
        cells: by day (UTC, YYYY-MM-DD) and model ('' where none is named).
        names: the figures that it has.
        begin, end: the time that it covers.
        problems: each with its file and line; nothing is compared when there are any.
        remarks: what whoever reads the comparison should know, with how often it was met.
    """

    kind: str = ""
    cells: dict[tuple[str, str], Figures] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)
    begin: datetime | None = None
    end: datetime | None = None
    problems: list[str] = field(default_factory=list)
    more_problems: int = 0
    remarks: dict[str, int] = field(default_factory=dict)

    def add(self, day: str, model: str, figures: Figures) -> None:
        """What was used on a day.

        Raises:
            ValueError: there are more days and models than are compared at once.
        """
        place = (day, model)
        if place not in self.cells and len(self.cells) >= MOST_CELLS:
            raise ValueError(f"there are more than {MOST_CELLS:,} days and models: reconcile fewer days at once")
        self.cells[place] = self.cells.get(place, Figures()).plus(figures)
        self.names |= {name for name, value in zip(Figures._fields, figures, strict=True) if value is not None}

    def cover(self, begin: datetime, end: datetime) -> None:
        """That it would say what was used in this time."""
        self.begin = begin if self.begin is None else min(self.begin, begin)
        self.end = end if self.end is None else max(self.end, end)

    def cover_day(self, day: date) -> None:
        """The same of a whole day in UTC."""
        begin = datetime.combine(day, time(), UTC)
        self.cover(begin, begin + timedelta(days=1))

    def be(self, kind: str) -> None:
        """Whose export it is.

        Raises:
            ValueError: other files are of another provider.
        """
        if self.kind not in ("", kind):
            raise ValueError("this is another provider's export than the files before: reconcile each by itself")
        self.kind = kind

    def remark(self, what: str) -> None:
        """Something to be said, once, with how often it was met."""
        self.remarks[what] = self.remarks.get(what, 0) + 1

    def problem(self, where: str, what: str) -> None:
        """Something that is wrong."""
        if len(self.problems) < MOST_PROBLEMS:
            self.problems.append(f"{where}: {what}")
        else:
            self.more_problems += 1

    def check(self) -> None:
        """That all of it could be read.

        Raises:
            InvalidInput: with every problem, one a line.
        """
        if self.more_problems:
            self.problems.append(f"… and {self.more_problems:,} more")
        if self.problems:
            raise InvalidInput("\n".join(self.problems))
        if self.begin is None:
            raise InvalidInput("The export says nothing of any day.")


def whole_number(value: object, name: str) -> int | None:
    """A count; None where nothing is said. `3` and `3.0` are the same.

    Raises:
        ValueError: it is none.
    """
    exact = decimal_number(value, name)
    if exact is None:
        return None
    if exact < 0 or exact != exact.to_integral_value() or exact > MOST_OF_A_FIGURE:
        raise ValueError(f"{name} is no count: {_shown(value)}")
    return int(exact)


def decimal_number(value: object, name: str) -> Decimal | None:
    """A number; None where nothing is said.

    Raises:
        ValueError: it is none.
    """
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    if isinstance(value, int | Decimal | str) and not isinstance(value, bool):
        try:
            exact = Decimal(value.strip() if isinstance(value, str) else value)
        except InvalidOperation:
            exact = Decimal("NaN")
        if exact.is_finite() and abs(exact) <= MOST_OF_A_FIGURE:
            return exact
    raise ValueError(f"{name} is no number: {_shown(value)}")


def read_day(value: object) -> date:
    """A day as 2026-11-21, with or without a time of day, 20261121 or 11/21/2026 (month first).

    Raises:
        ValueError: it is none.
    """
    text = str(value).strip()
    found = re.fullmatch(r"(\d{4})-?(\d{2})-?(\d{2})([T ].*)?", text, re.ASCII)
    parts = found and (int(found[1]), int(found[2]), int(found[3]))
    if parts is None:
        found = re.fullmatch(r"(\d{1,2})/(\d{1,2})/(\d{4})", text, re.ASCII)
        parts = found and (int(found[3]), int(found[1]), int(found[2]))
    if parts is None:
        raise ValueError(f"no day: {_shown(value)}")
    try:
        return date(*parts)
    except ValueError:
        raise ValueError(f"no day: {_shown(value)}") from None


def _shown(value: object) -> str:
    return repr(value if isinstance(value, str) else str(value))[:60]
