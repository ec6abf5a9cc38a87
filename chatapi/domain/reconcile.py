"""Comparing the ledger with what a provider says was used, by day (UTC) and model.

Providers date the names of models (`gpt-4o-2024-08-06`) and the ledger may not, or the other way round. Names that are
the same but for a date are compared together, unless both sides have exactly the same ones.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import NamedTuple

from chatapi.domain.money import NANODOLLARS
from chatapi.domain.provider_usage import Export, Figures

NAMES = ("requests", "prompt_tokens", "cached_tokens", "completion_tokens", "cost_nanodollars")
ALL_MODELS = "(all models)"
ROUNDED_NANODOLLARS = 1000  # providers round: what differs by less than a millionth of a dollar does not differ
_DATED = re.compile(r"-(20\d\d-\d\d-\d\d|20\d{6}|[01]\d[0-3]\d)$")


class Ours(NamedTuple):
    """What the ledger says was used, of one day (UTC) and model.

    Args:
        requests: attempts that were answered.
        prompt_tokens, cached_tokens, completion_tokens: charged.
        cost: charged, in nano-dollars; without that of the calls that are `unpriced`.
        estimated: calls charged as counted here or at their hold: their provider may say otherwise.
        at_risk: attempts that nobody saw the end of: their provider may count them, and what they used.
        in_flight: attempts that run still, and of which nothing is counted here.
    """

    requests: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    cost: int = 0
    unpriced: int = 0
    estimated: int = 0
    at_risk: int = 0
    in_flight: int = 0

    def plus(self, other: Ours) -> Ours:
        """Both together."""
        return Ours(*map(sum, zip(self, other, strict=True)))


class Pair(NamedTuple):
    """A figure of both sides; None: not known."""

    ours: int | None
    theirs: int | None
    differs: bool

    @property
    def difference(self) -> int | None:
        """Ours less theirs; None where either is not known."""
        return None if self.ours is None or self.theirs is None else self.ours - self.theirs


@dataclass(frozen=True, slots=True)
class Row:
    """One day and model of both.

    Args:
        is_whole: False where retention may have deleted calls of the day, so that nothing can be said.
    """

    day: str
    model: str
    figures: Mapping[str, Pair]
    ours: Ours
    is_whole: bool

    @property
    def differs(self) -> bool:
        """Whether any figure does."""
        return any(pair.differs for pair in self.figures.values())


@dataclass(frozen=True, slots=True)
class Comparison:
    """All rows, and which names were taken together: by the name that stands in the rows, the provider's and ours."""

    rows: tuple[Row, ...]
    mapping: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = field(default_factory=dict)

    @property
    def differing(self) -> int:
        """How many rows differ."""
        return sum(row.differs for row in self.rows)

    @property
    def uncertain(self) -> int:
        """How many rows are of days whose calls are not all there."""
        return sum(not row.is_whole for row in self.rows)


@dataclass(frozen=True, slots=True)
class Terms:
    """How to compare.

    Args:
        tolerance: by how much, as a share of the larger figure, two may differ and count as the same.
        given: the ledger's name by the provider's (small letters), where somebody says so.
        calls_since: the first local day whose calls are all in the ledger; '' where none was deleted.
    """

    tolerance: Decimal = Decimal(0)
    given: Mapping[str, str] = field(default_factory=dict)
    calls_since: str = ""


def undated(model: str) -> str:
    """The name in small letters, without a date at its end (`-2024-08-06`, `-20240806`, `-0806`)."""
    return _DATED.sub("", model.lower())


def compare(export: Export, ours: Mapping[tuple[str, str], Ours], terms: Terms) -> Comparison:
    """Compare day by day and model by model.

    Args:
        export: what the provider says; where it names no models, all are compared together.
        ours: by day and model.
        terms: how.
    """
    theirs = {place: figures for place, figures in export.cells.items() if any(value for value in figures)}
    ours = {place: figures for place, figures in ours.items() if any(figures)}
    if any(not model for _, model in theirs):
        names = _Names({}, {}, everything=True)
    else:
        names = _Names.of((model for _, model in theirs), (model for _, model in ours), terms.given)
    them: dict[tuple[str, str], Figures] = {}
    us: dict[tuple[str, str], Ours] = {}
    for (day, model), figures in theirs.items():
        place = (day, names.theirs_of(model))
        them[place] = them.get(place, Figures()).plus(figures)
    for (day, model), each in ours.items():
        place = (day, names.ours_of(model))
        us[place] = us.get(place, Ours()).plus(each)
    rows = []
    for place in sorted(them.keys() | us.keys()):
        mine = us.get(place, Ours())
        pairs = dict(_pairs(export, them.get(place, Figures()), mine, terms.tolerance))
        rows.append(Row(*place, pairs, mine, place[0] > terms.calls_since))
    return Comparison(tuple(rows), names.told())


def _pairs(export: Export, theirs: Figures, ours: Ours, tolerance: Decimal) -> Iterator[tuple[str, Pair]]:
    """The figures that the export has. A model that it does not name on a day has none there."""
    for name, own in zip(("requests", "prompt_tokens", "cached_tokens", "completion_tokens"), ours[:4], strict=True):
        if name in export.names:
            yield name, _pair(own, int(getattr(theirs, name) or 0), tolerance, 0)
    if "cost" in export.names:
        nanodollars = int(((theirs.cost or Decimal(0)) * NANODOLLARS).to_integral_value())
        yield (
            "cost_nanodollars",
            _pair(None if ours.unpriced else ours.cost, nanodollars, tolerance, ROUNDED_NANODOLLARS),
        )


def _pair(ours: int | None, theirs: int, tolerance: Decimal, rounded: int) -> Pair:
    if ours is None:
        return Pair(None, theirs, differs=True)
    apart, most = abs(ours - theirs), max(abs(ours), abs(theirs))
    return Pair(ours, theirs, differs=apart > rounded and apart > tolerance * most)


class _Names:
    """Under which name each side's names are compared."""

    def __init__(self, theirs: Mapping[str, str], ours: Mapping[str, str], *, everything: bool = False) -> None:
        self._theirs = theirs
        self._ours = ours
        self._everything = everything

    @classmethod
    def of(cls, theirs: Iterable[str], ours: Iterable[str], given: Mapping[str, str]) -> _Names:
        """Put names together that are the same but for a date, or that somebody put together."""
        keys: tuple[dict[str, str], dict[str, str]] = (
            {name: undated(given.get(name.lower(), name)) for name in theirs},
            {name: undated(name) for name in ours},
        )
        sides: list[dict[str, set[str]]] = [{}, {}]
        for groups, side in zip(sides, keys, strict=True):
            for name, key in side.items():
                groups.setdefault(key, set()).add(name)
        for key in sides[0].keys() & sides[1].keys():
            if sides[0][key] == sides[1][key]:  # the very same: each by itself
                for side in keys:
                    side.update({name: name for name in sides[0][key]})
        return cls(*keys)

    def theirs_of(self, name: str) -> str:
        """Of a name of the provider's."""
        return ALL_MODELS if self._everything else self._theirs[name]

    def ours_of(self, name: str) -> str:
        """Of a name of the ledger's."""
        return ALL_MODELS if self._everything else self._ours[name]

    def told(self) -> dict[str, tuple[tuple[str, ...], tuple[str, ...]]]:
        """Which names stand for others than themselves."""
        found: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {}
        for key in sorted({*self._theirs.values(), *self._ours.values()}):
            theirs = tuple(sorted(name for name, of in self._theirs.items() if of == key))
            ours = tuple(sorted(name for name, of in self._ours.items() if of == key))
            if theirs and ours and {*theirs, *ours} != {key}:
                found[key] = (theirs, ours)
        return found
