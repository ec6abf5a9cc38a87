"""The price book: which price holds for a model at a moment: the configured one, else that of genai-prices' list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time
from functools import lru_cache
from types import MappingProxyType

from chatapi.domain.extras import Unit
from chatapi.domain.known_prices import Span, known_prices, load
from chatapi.domain.prices import STANDARD, ModelPrice, nanodollars
from chatapi.domain.token_prices import Level, TokenPrices
from chatapi.settings.upstreams import ConfiguredPrice, Model

OF_TOKENS = {"cached_prompt": "cached"}  # where the file says it in another word
REMEMBERED = 4096  # models and days; names are the clients', so there is no end of them


class PriceBook:
    """The prices of all models.

    Args:
        overrides: by model, prices that hold instead of the list's from their `since` on (None: always).
    """

    def __init__(self, overrides: Mapping[str, Sequence[ModelPrice]] = MappingProxyType({})) -> None:
        self._overrides = {
            model: sorted(prices, key=lambda price: price.since or date.min) for model, prices in overrides.items()
        }
        self._on = lru_cache(maxsize=REMEMBERED)(self._find)

    @classmethod
    def of(cls, models: Mapping[str, Model]) -> PriceBook:
        """The book in which the configured prices of these models win."""
        return cls({name: [_configured(price) for price in model.prices] for name, model in models.items()})

    def load(self) -> None:
        """Import the list now: up to a quarter of a second, for which the first call would stop all others."""
        load()

    def price(self, model: str, provider: str | None, at: datetime) -> ModelPrice | None:
        """The price of a model, or None when it is unpriced, which is not free.

        Args:
            model: the model itself, no alias and no deployment's name.
            provider: whose list price, where none is configured: openai, azure, or any that genai-prices knows; None:
                that of the model's maker.
            at: with its time zone. Days, and the hours of prices by night, are UTC's.
        """
        moment = at.astimezone(UTC)
        spans = self._on(model, provider, moment.date())
        if len(spans) == 1:
            return spans[0].price
        now = moment.time()
        return next(span.price for span in reversed(spans) if span.begins <= now)

    def _find(self, model: str, provider: str | None, day: date) -> tuple[Span, ...]:
        configured = [price for price in self._overrides.get(model, ()) if (price.since or date.min) <= day]
        if configured:
            return (Span(time.min, configured[-1]),)
        return known_prices(model, provider, day)


def _configured(price: ConfiguredPrice) -> ModelPrice:
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
    return ModelPrice("configuration", price.since, {STANDARD: levels}, units, nanodollars(price.per_request))
