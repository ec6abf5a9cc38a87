"""The price book: which price holds for a model at an instant: an override, else the configured one, else that of
genai-prices' list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache, partial
from types import MappingProxyType
from typing import NamedTuple

from chatapi.domain.extras import Unit
from chatapi.domain.known_prices import Span, known_prices, load
from chatapi.domain.prices import STANDARD, ModelPrice, nanodollars
from chatapi.domain.token_prices import Level, TokenPrices
from chatapi.settings.upstreams import ConfiguredPrice, Model

OF_TOKENS = {"cached_prompt": "cached"}  # where the file says it in another word
REMEMBERED = 4096  # models and days; names are the clients', so there is no end of them
CONFIGURATION, OVERRIDE = "configuration", "override"
DAY = timedelta(days=1)


class Quote(NamedTuple):
    """A price, and the instants (UTC) from which and before which it is sure to hold."""

    price: ModelPrice | None
    since: datetime
    until: datetime


class Override(NamedTuple):
    """What an operator said at run time of a model's price.

    Args:
        begins_at: from when on it is said.
        price: None: unpriced.
        ends: whether it is said that no override holds any more.
    """

    begins_at: datetime
    price: ModelPrice | None
    ends: bool = False


Overrides = Mapping[str, Sequence[Override]]


class PriceBook:
    """The prices of all models.

    Args:
        configured: by model, prices that hold instead of the list's from their `since` on (None: always).
    """

    def __init__(self, configured: Mapping[str, Sequence[ModelPrice]] = MappingProxyType({})) -> None:
        self._configured = {
            model: sorted(prices, key=lambda price: price.since or date.min) for model, prices in configured.items()
        }
        self._overrides: Overrides = {}
        self._on = lru_cache(maxsize=REMEMBERED)(partial(self._find, {}))
        self.good_until = datetime.min.replace(tzinfo=UTC)
        """Of instants before this one all overrides are known here: `override` says so."""

    @classmethod
    def of(cls, models: Mapping[str, Model]) -> PriceBook:
        """The book in which the configured prices of these models win."""
        return cls({name: [model_price(price) for price in model.prices] for name, model in models.items()})

    def load(self) -> None:
        """Import the list now: up to a quarter of a second, for which the first call would stop all others."""
        load()

    def override(self, overrides: Overrides, good_until: datetime) -> None:
        """From now on these win over all other prices, each from its instant on until the next of its model's.

        Whoever asks meanwhile is answered by the old ones or by the new ones, never by some of both.

        Args:
            overrides: by model.
            good_until: of instants before this one nobody can say anything else any more.
        """
        if overrides != self._overrides:
            ordered = {model: tuple(sorted(said, key=lambda each: each.begins_at)) for model, said in overrides.items()}
            self._on = lru_cache(maxsize=REMEMBERED)(partial(self._find, ordered))
            self._overrides = overrides
        self.good_until = good_until

    def price(self, model: str, provider: str | None, at: datetime) -> ModelPrice | None:
        """The price of a model, or None when it is unpriced, which is not free.

        Args:
            model: the model itself, no alias and no deployment's name.
            provider: whose list price, where none is configured: openai, azure, or any that genai-prices knows; None:
                that of the model's maker.
            at: with its time zone. Days, and the hours of prices by night, are UTC's.
        """
        return self.quote(model, provider, at).price

    def quote(self, model: str, provider: str | None, at: datetime) -> Quote:
        """The same, and how long it holds."""
        moment = at.astimezone(UTC)
        quotes = self._on(model, provider, moment.date())
        if len(quotes) == 1:
            return quotes[0]
        return next(quote for quote in reversed(quotes) if quote.since <= moment)

    def _find(
        self, overrides: Mapping[str, tuple[Override, ...]], model: str, provider: str | None, day: date
    ) -> tuple[Quote, ...]:
        """The prices of one day, in their order."""
        midnight = datetime.combine(day, time.min, UTC)
        spans = self._otherwise(model, provider, day)
        said = [each for each in overrides.get(model, ()) if each.begins_at < midnight + DAY]
        changes = {midnight} | {datetime.combine(day, span.begins, UTC) for span in spans}
        changes |= {each.begins_at for each in said if each.begins_at > midnight}
        begins = sorted(changes)

        def price_at(instant: datetime) -> ModelPrice | None:
            last = next((each for each in reversed(said) if each.begins_at <= instant), None)
            if last is not None and not last.ends:
                return last.price
            return next(span.price for span in reversed(spans) if span.begins <= instant.time())

        ends = [*begins[1:], midnight + DAY]
        return tuple(Quote(price_at(begin), begin, end) for begin, end in zip(begins, ends, strict=True))

    def _otherwise(self, model: str, provider: str | None, day: date) -> tuple[Span, ...]:
        """The prices of one day without overrides."""
        configured = [price for price in self._configured.get(model, ()) if (price.since or date.min) <= day]
        if configured:
            return (Span(time.min, configured[-1]),)
        return known_prices(model, provider, day)


def model_price(price: ConfiguredPrice, source: str = CONFIGURATION) -> ModelPrice:
    """A price as it was configured, in nano-dollars."""
    levels = tuple(
        Level(
            above, TokenPrices(**{OF_TOKENS.get(kind, kind): nanodollars(each, 10**6) for kind, each in kinds.items()})
        )
        for above, kinds in price.per_million.items()
    )
    units = {
        Unit(unit): {variant: nanodollars(each) for variant, each in variants.items()}
        for unit, variants in price.per_unit.items()
    }
    return ModelPrice(source, price.since, {STANDARD: levels}, units, nanodollars(price.per_request))
