"""The list prices that genai-prices knows, as `ModelPrice`: bundled with it, dated, and read without any network.

Importing genai-prices takes up to a quarter of a second, so it is imported where it is first used (`PriceBook.load`).
What its types mean, and what this makes of them, is told in docs/models.md. Its own look-ups remember every name that
they were ever asked for; clients send any names, so they are looked up here in its lists instead.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, NamedTuple

from chatapi.domain.extras import OTHER, Unit
from chatapi.domain.prices import STANDARD, ModelPrice, nanodollars
from chatapi.domain.token_prices import Level, TokenPrices

if TYPE_CHECKING:
    from genai_prices import types

LONGEST_NAME = 256  # characters; no model has a longer one
PER_MILLION = 10**6
TOKENS = {  # our kind of token: its key at genai-prices
    "prompt": "input_mtok",
    "completion": "output_mtok",
    "cached": "cache_read_mtok",
    "cache_write": "cache_write_mtok",
    "prompt_audio": "input_audio_mtok",
    "cached_audio": "cache_audio_read_mtok",
    "prompt_image": "input_image_mtok",
    "cached_image": "cache_image_read_mtok",
    "reasoning": "output_reasoning_mtok",
    "completion_audio": "output_audio_mtok",
    "completion_image": "output_image_mtok",
}
UNITS = {  # a key at genai-prices: our unit, and for how many of it the price is
    "audio_hours": (Unit.SECOND, 3600),
    "input_audio_hours": (Unit.SECOND, 3600),
    "input_mchars": (Unit.CHARACTER, PER_MILLION),
    "web_searches_kcount": (Unit.WEB_SEARCH, 1000),
    "storage_searches_kcount": (Unit.FILE_SEARCH, 1000),
}
REQUESTS = "requests_kcount"


class Span(NamedTuple):
    """The price of a model from a time of day (UTC) on; some providers are cheaper at night."""

    begins: time
    price: ModelPrice | None


def load() -> None:
    """Import genai-prices and its list, so that no call has to wait for it."""
    from genai_prices.data_snapshot import get_snapshot

    get_snapshot()


def known_prices(model: str, provider: str | None, day: date) -> tuple[Span, ...]:
    """What genai-prices knows about a model on a day (UTC), from each time of the day at which that changes.

    Args:
        model: any spelling that it knows, such as gpt-4o-mini-2024-07-18.
        provider: whose prices, as it names them (openai, azure, groq, …); None: the maker's, told by the model's name.
        day: prices are dated.
    """
    if len(model) > LONGEST_NAME or (found := _find(model, provider)) is None:
        return (Span(time.min, None),)
    owner, info = found
    return tuple(
        Span(begins, _price(owner, info, datetime.combine(day, begins, UTC))) for begins in sorted(_changes(info))
    )


def _find(model: str, provider: str | None) -> tuple[types.Provider, types.ModelInfo] | None:
    from genai_prices.data_snapshot import find_provider_by_id, get_snapshot

    providers = get_snapshot().providers
    if provider is None:
        makers = (each for each in providers if each.model_match is not None and each.model_match.is_match(model))
        owner = next(makers, None)
    else:
        owner = find_provider_by_id(providers, provider)
    info = owner.find_model(model, all_providers=providers) if owner is not None else None
    return None if owner is None or info is None else (owner, info)


def _changes(info: types.ModelInfo) -> set[time]:
    """The times of the day (UTC) at which a price of this model may begin."""
    from genai_prices.types import TimeOfDateConstraint

    dated = [] if not isinstance(info.prices, list) else [each.constraint for each in info.prices]
    dated += [each.constraint for each in info.price_variants or ()]
    times = {time.min}
    for constraint in dated:
        if isinstance(constraint, TimeOfDateConstraint):
            times |= {_in_utc(constraint.start_time), _in_utc(constraint.end_time)}
    return times


def _in_utc(moment: time) -> time:
    if moment.tzinfo is None:
        return moment
    return datetime.combine(date(1970, 1, 2), moment).astimezone(UTC).time()


def _price(owner: types.Provider, info: types.ModelInfo, moment: datetime) -> ModelPrice | None:
    """The price at one moment; None where the list has the model, but no price of it."""
    from genai_prices import __version__

    listed = dict(_listed(info.get_prices(moment)))
    if not listed:
        return None
    levels = {STANDARD: _levels(listed)}
    for tier in _service_tiers(owner, info):
        of_tier = _levels(dict(_listed(info.get_prices(moment, {"service_tier": tier}))))
        if of_tier != levels[STANDARD]:
            levels[tier] = of_tier
    units = {unit: {OTHER: nanodollars(_flat(listed[key]), per)} for key, (unit, per) in UNITS.items() if key in listed}
    request = nanodollars(_flat(listed[REQUESTS]), 1000) if REQUESTS in listed else Fraction(0)
    return ModelPrice(f"genai-prices {__version__}", _since(info, moment), levels, units, request)


def _service_tiers(owner: types.Provider, info: types.ModelInfo) -> set[str]:
    """The service tiers that have prices of their own; not where one provider's prices stand in for another's."""
    if not any(info is each for each in owner.models):
        return set()
    return {each.when["service_tier"] for each in info.price_variants or () if each.when.keys() == {"service_tier"}}


def _listed(prices: types.ModelPrice) -> Iterator[tuple[str, Decimal | types.TieredPrices]]:
    """The prices that are there, by their keys at genai-prices. What costs nothing there is not known to be free."""
    for key in (*TOKENS.values(), *UNITS, REQUESTS):
        price = getattr(prices, key)
        if price is not None and _highest(price) > 0:
            yield key, price


def _levels(listed: dict[str, Decimal | types.TieredPrices]) -> tuple[Level, ...]:
    """One level for each length of prompt from which any kind of token has another price."""
    starts = {0}.union(*({tier.start for tier in _tiers(price)} for price in listed.values()))
    return tuple(
        Level(
            start,
            TokenPrices(
                **{
                    kind: nanodollars(_at(listed[key], start), PER_MILLION)
                    for kind, key in TOKENS.items()
                    if key in listed
                }
            ),
        )
        for start in sorted(starts)
    )


def _tiers(price: Decimal | types.TieredPrices) -> list[types.Tier]:
    return [] if isinstance(price, Decimal) else price.tiers


def _at(price: Decimal | types.TieredPrices, start: int) -> Decimal:
    """The price of prompts that are just longer than `start` tokens."""
    reached = [tier.price for tier in _tiers(price) if tier.start <= start]
    return reached[-1] if reached and start else _flat(price)


def _flat(price: Decimal | types.TieredPrices) -> Decimal:
    return price if isinstance(price, Decimal) else price.base


def _highest(price: Decimal | types.TieredPrices) -> Decimal:
    return max(_flat(price), *(tier.price for tier in _tiers(price)), Decimal(0))


def _since(info: types.ModelInfo, moment: datetime) -> date | None:
    """The day on which the price of this moment began, where its list says so."""
    from genai_prices.types import StartDateConstraint

    begun = [
        each.constraint.start_date
        for each in (info.prices if isinstance(info.prices, list) else ())
        if isinstance(each.constraint, StartDateConstraint) and each.constraint.active(moment)
    ]
    return begun[-1] if begun else None
