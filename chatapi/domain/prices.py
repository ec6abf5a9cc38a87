"""What a model costs: its prices, what a call cost by them, and the most that one can cost.

Nothing here knows where prices come from: `domain/known_prices.py` and `domain/price_book.py` do.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from fractions import Fraction
from math import lcm
from types import MappingProxyType

from chatapi.domain.extras import MEASURES, NOTHING_ELSE, OTHER, Extras, Unit
from chatapi.domain.limits import Price
from chatapi.domain.money import NANODOLLARS
from chatapi.domain.token_prices import Level, Rates, TokenPrices, first, scaled
from chatapi.domain.usage import Usage

STANDARD = ""  # the service tier whose prices hold for every tier that has none of its own


@dataclass(frozen=True, slots=True)
class ModelPrice:
    """What a model costs from one date on, until another price holds.

    Args:
        source: "override", "configuration", or "genai-prices" and its version.
        since: the first day (UTC) on which it holds; None: it is not said, and always.
        levels: by service tier, its levels by length of prompt, the first of them above 0.
        units: nano-dollars per unit, by variant (`Extras.image`), and under `OTHER` for all that is not named.
        request: nano-dollars for each call, whatever it uses.
    """

    source: str
    since: date | None
    levels: Mapping[str, tuple[Level, ...]]
    units: Mapping[Unit, Mapping[str, Fraction]] = field(default_factory=dict)
    request: Fraction = Fraction(0)
    _scale: int = field(init=False, repr=False, compare=False)
    _rates: Mapping[str, tuple[Rates, ...]] = field(init=False, repr=False, compare=False)
    _lengths: tuple[int, ...] = field(init=False, repr=False, compare=False)  # of prompts, above which levels begin
    _bounds: dict[tuple[int, bool], Price | None] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        levels = {tier: tuple(sorted(each, key=lambda level: level.above)) for tier, each in self.levels.items()}
        prices = (price for each in levels.values() for level in each for price in level.tokens)
        scale = lcm(*(price.denominator for price in prices if price is not None))
        rates = {tier: tuple(scaled(level, scale) for level in each) for tier, each in levels.items()}
        units = {unit: MappingProxyType(dict(variants)) for unit, variants in self.units.items()}
        object.__setattr__(self, "levels", MappingProxyType(levels))
        object.__setattr__(self, "units", MappingProxyType(units))
        object.__setattr__(self, "_scale", scale)
        object.__setattr__(self, "_rates", rates)
        object.__setattr__(self, "_lengths", tuple(sorted({level.above for each in levels.values() for level in each})))

    def cost(self, usage: Usage, extras: Extras = NOTHING_ELSE, service_tier: str = STANDARD) -> int | None:
        """What a call cost in nano-dollars: one exact sum, rounded once, half up.

        Tokens, images, seconds and characters measure the same call: those of them that have a price are charged.

        Args:
            usage: cached tokens at their own price; reasoning tokens are part of the completion's.
            extras: what else it used.
            service_tier: as the reply names it; one without prices of its own costs the standard ones.

        Returns:
            None when something that it used has no price, which is not the same as costing nothing.
        """
        parts = self._of(service_tier, usage.prompt_tokens).parts(usage, extras)
        if parts is not None and extras == NOTHING_ELSE and not self.request:  # nearly every call: integers only
            return (2 * parts + self._scale) // (2 * self._scale)
        rest = self._besides(extras, tokens_are_priced=bool(usage.total_tokens) and parts is not None)
        if rest is None or (parts is None and not self._measured(extras)):
            return None
        exact = Fraction(parts or 0, self._scale) + rest
        return (2 * exact.numerator + exact.denominator) // (2 * exact.denominator)

    def of_tokens(self, prompt_tokens: int = 0) -> TokenPrices:
        """What each kind of token costs in a call with so long a prompt, in the standard service tier."""
        levels = self.levels.get(STANDARD, ())
        if not levels:
            return TokenPrices()
        place = bisect_left([level.above for level in levels], prompt_tokens) - 1
        return levels[max(0, place)].tokens.filled()

    def bound(self, prompt_bound: int, *, completes: bool) -> Price | None:
        """`highest` for calls that use nothing but tokens, which is remembered."""
        place = (bisect_left(self._lengths, max(prompt_bound, 1)), completes)
        if place not in self._bounds:
            self._bounds[place] = self.highest(prompt_bound=prompt_bound, completes=completes)
        return self._bounds[place]

    def highest(
        self,
        extras: Extras = NOTHING_ELSE,
        *,
        prompt_bound: int | None = None,
        service_tier: str | None = None,
        completes: bool = True,
    ) -> Price | None:
        """The most that each token, and the call besides its tokens, can cost: of any kind, rounded up.

        No call that uses at most `extras` units and its bounds in tokens costs more (`Need.cost`).

        Args:
            extras: units that it may use at most; a variant that is not known yet ("auto") is taken as the dearest.
            prompt_bound: in tokens; prices of longer prompts are then left out. None: of any length.
            service_tier: the only one that it can be answered in. None: any.
            completes: whether it can have a completion; an embedding has none, and needs no price for one.

        Returns:
            None when something that it may use has no price.
        """
        tiers = self._rates.values() if service_tier is None else [self._tier(service_tier)]
        rates = [each for tier in tiers for each in tier if prompt_bound is None or each.above < max(prompt_bound, 1)]
        known = all(each.knows_prompt and (each.knows_completion or not completes) for each in rates)
        rest = self._besides(extras, tokens_are_priced=known, dearest=True)
        if rest is None or (not known and not self._measured(extras)):
            return None
        call = -(-rest.numerator // rest.denominator)
        if not known:
            return Price(0, 0, call)
        prompt, completion = max(each.dearest_prompt for each in rates), max(each.dearest_completion for each in rates)
        return Price(-(-prompt // self._scale), -(-completion // self._scale), call)

    def _tier(self, service_tier: str) -> tuple[Rates, ...]:
        return self._rates.get(service_tier) or self._rates[STANDARD]

    def _of(self, service_tier: str, prompt_tokens: int) -> Rates:
        rates = self._tier(service_tier)
        return rates[0] if len(rates) == 1 else rates[max(0, bisect_left(rates, (prompt_tokens,)) - 1)]

    def _measured(self, extras: Extras) -> bool:
        """Whether the call is measured in any unit that has a price."""
        return any(extras.of(unit) and unit in self.units for unit in MEASURES)

    def _besides(self, extras: Extras, *, tokens_are_priced: bool, dearest: bool = False) -> Fraction | None:
        """Nano-dollars besides the tokens'; None where a unit has no price, and no other measure stands for it."""
        total, stands_in = self.request, tokens_are_priced or self._measured(extras)
        for unit in Unit:
            if not (count := extras.of(unit)):
                continue
            variants = self.units.get(unit)
            if variants is None and unit in MEASURES and stands_in:
                continue
            price = _of_variant(variants or {}, extras.image if unit is Unit.IMAGE else OTHER, dearest=dearest)
            if price is None:
                return None
            total += Fraction(count) * price
        return total


def _of_variant(variants: Mapping[str, Fraction], name: str, *, dearest: bool) -> Fraction | None:
    """The price of "1024x1024/hd", else of "1024x1024", else of any other."""
    named = first(variants.get(name), variants.get(name.partition("/")[0]))
    if dearest and variants and (named is None or not name):
        return max(variants.values())
    return first(named, variants.get(OTHER))


def nanodollars(dollars: Decimal, per: int = 1) -> Fraction:
    """Exact nano-dollars for one of something of which `per` cost so many dollars."""
    return Fraction(dollars) * NANODOLLARS / per


def per_million(price: Fraction | None) -> int | None:
    """Whole nano-dollars for a million of something; None where nobody knows what one costs."""
    return None if price is None else round(price * 10**6)
