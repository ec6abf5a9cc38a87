"""Prices: what a call costs, exactly, and what none of its size can exceed. genai-prices' own sums are the oracle."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction

import genai_prices
import pytest
from genai_prices.data_snapshot import get_snapshot
from hypothesis import given
from hypothesis import strategies as st

from chatapi.domain.extras import Extras, Unit
from chatapi.domain.known_prices import REQUESTS, TOKENS, UNITS
from chatapi.domain.limits import Price
from chatapi.domain.price_book import PriceBook
from chatapi.domain.prices import STANDARD, ModelPrice, nanodollars
from chatapi.domain.token_prices import Level, TokenPrices
from chatapi.domain.usage import Usage
from tests.support.prices import BOOK, CHAT_MODELS, NOW, one, priced, usages

LISTED = [(provider.id, model.id) for provider in get_snapshot().providers for model in provider.models]


def expected(usage: Usage, model: str, provider: str, at: datetime = NOW, **context: str) -> int:
    """genai-prices' own sum, in nano-dollars."""
    asked = genai_prices.Usage(
        input_tokens=usage.prompt_tokens,
        cache_read_tokens=usage.cached_tokens,
        cache_audio_read_tokens=0,
        cache_image_read_tokens=0,
        input_audio_tokens=0,
        input_image_tokens=0,
        output_tokens=usage.completion_tokens,
        output_reasoning_tokens=usage.reasoning_tokens,
    )
    listed = genai_prices.calc_price(
        asked, model, provider_id=provider, genai_request_timestamp=at, price_context=context or None
    )
    return int((listed.total_price * 10**9).quantize(Decimal(1), ROUND_HALF_UP))


# ------------------------------------------------------------------------------------------------ against the oracle
@given(usages(), st.sampled_from(CHAT_MODELS), st.sampled_from(["openai", "azure"]))
def test_what_openais_models_cost_is_what_genai_prices_says(usage: Usage, model: str, provider: str) -> None:
    assert priced(model, provider).cost(usage) == expected(usage, model, provider)


@given(usages(), st.sampled_from(LISTED), st.datetimes(datetime(2024, 1, 1), datetime(2027, 1, 1)))
def test_what_any_listed_model_costs_is_what_genai_prices_says(
    usage: Usage, listed: tuple[str, str], at: datetime
) -> None:
    provider, model = listed
    at = at.replace(tzinfo=UTC)
    price = BOOK.price(model, provider, at)
    try:
        info = genai_prices.calc_price(genai_prices.Usage(), model, provider_id=provider, genai_request_timestamp=at)
    except LookupError:  # a few are listed under a name that nothing matches
        assert price is None
        return
    known = info.model_price
    unpriced = (usage.prompt_tokens and known.input_mtok is None) or (
        usage.completion_tokens and known.output_mtok is None
    )
    listed_kinds = {kind for kind, value in vars(known).items() if value is not None}
    assert (price is None) == listed_kinds.isdisjoint({*TOKENS.values(), *UNITS, REQUESTS})
    if price is not None:
        assert price.cost(usage) == (None if unpriced else expected(usage, model, provider, at))


@given(
    usages(),
    st.sampled_from(["gpt-5", "gpt-5.4", "gpt-6-sol"]),
    st.sampled_from(["flex", "priority", "default"]),
    st.sampled_from(["openai", "azure"]),
)
def test_a_service_tier_has_its_own_prices_at_its_own_provider(
    usage: Usage, model: str, tier: str, provider: str
) -> None:
    cost = priced(model, provider).cost(usage, service_tier=tier)
    assert cost == expected(usage, model, provider, service_tier=tier)


@given(usages())
def test_reasoning_has_its_own_price_where_it_has_one(usage: Usage) -> None:
    model = "sonar-deep-research"
    assert priced(model, "perplexity").cost(usage) == expected(usage, model, "perplexity")


@given(usages(), st.integers(0, 2_000_000), st.integers(0, 2_000_000))
def test_audio_tokens_cost_what_audio_costs(usage: Usage, heard: int, spoken: int) -> None:
    heard, spoken = min(heard, usage.prompt_tokens), min(spoken, usage.completion_tokens)
    asked = genai_prices.Usage(
        input_tokens=usage.prompt_tokens,
        input_audio_tokens=heard,
        output_tokens=usage.completion_tokens,
        output_audio_tokens=spoken,
    )
    listed = genai_prices.calc_price(asked, "gpt-audio", provider_id="openai", genai_request_timestamp=NOW).total_price
    extras = Extras(prompt_audio_tokens=heard, completion_audio_tokens=spoken)
    ours = priced("gpt-audio").cost(usage._replace(cached_tokens=0, reasoning_tokens=0), extras)
    assert ours == int((listed * 10**9).quantize(Decimal(1), ROUND_HALF_UP))


@given(usages(), st.integers(0, 2_000_000))
def test_what_is_written_to_the_cache_costs_what_writing_costs(usage: Usage, written: int) -> None:
    written = min(written, usage.prompt_tokens - usage.cached_tokens)
    asked = genai_prices.Usage(
        input_tokens=usage.prompt_tokens,
        cache_read_tokens=usage.cached_tokens,
        cache_write_tokens=written,
        output_tokens=usage.completion_tokens,
    )
    listed = genai_prices.calc_price(asked, "gpt-6-sol", provider_id="openai", genai_request_timestamp=NOW).total_price
    ours = priced("gpt-6-sol").cost(usage, Extras(cache_write_tokens=written))
    assert ours == int((listed * 10**9).quantize(Decimal(1), ROUND_HALF_UP))


# ----------------------------------------------------------------------------------------------- figures known by heart
@pytest.mark.parametrize(
    ("model", "usage", "dollars"),
    [
        ("gpt-4o-mini", Usage(1_000_000, 0, 1_000_000, 0), "0.75"),
        ("gpt-4o-mini-2024-07-18", Usage(1_000_000, 400_000, 0, 0), "0.12"),
        ("gpt-4o", Usage(1000, 0, 1000, 0), "0.0125"),
        ("o3", Usage(0, 0, 1000, 1000), "0.008"),
        ("text-embedding-3-small", Usage(1_000_000, 0, 0, 0), "0.02"),
    ],
)
def test_known_models_cost_what_their_makers_say(model: str, usage: Usage, dollars: str) -> None:
    assert priced(model).cost(usage) == int(Decimal(dollars) * 10**9)


@pytest.mark.parametrize(
    ("model", "extras", "dollars"),
    [
        ("whisper-1", Extras(seconds=90), "0.009"),
        ("tts-1", Extras(characters=2_000), "0.03"),
        ("tts-1-hd", Extras(characters=1), "0.00003"),
        ("gpt-4o-mini", Extras(web_searches=2, file_searches=1), "0.0225"),
    ],
)
def test_what_is_no_token_has_its_price(model: str, extras: Extras, dollars: str) -> None:
    assert priced(model).cost(Usage(), extras) == int(Decimal(dollars) * 10**9)


def test_a_longer_prompt_costs_more_for_all_of_its_tokens() -> None:
    price = priced("gpt-5.4")
    assert price.cost(Usage(272_000, 0, 0, 0)) == 272_000 * 2500
    assert price.cost(Usage(272_001, 0, 1, 0)) == 272_001 * 5000 + 22_500


def test_prices_by_night_hold_at_night() -> None:
    usage = Usage(1000, 0, 0, 0)
    night, day = NOW.replace(hour=20), NOW.replace(hour=8)
    for at in (night, day):
        price = priced("deepseek-chat", "deepseek", at)
        assert price.cost(usage) == expected(usage, "deepseek-chat", "deepseek", at)
    assert priced("deepseek-chat", "deepseek", night).highest() != priced("deepseek-chat", "deepseek", day).highest()


def test_a_dated_list_price_holds_from_its_day_on() -> None:
    before, after = datetime(2026, 8, 20, 23, 59, tzinfo=UTC), datetime(2026, 8, 21, tzinfo=UTC)
    assert (priced("gpt-5.6-sol", at=before).since, priced("gpt-5.6-sol", at=after).since) == (None, date(2026, 8, 21))
    million = Usage(0, 0, 1_000_000, 0)
    assert priced("gpt-5.6-sol", at=before).cost(million) == 30 * 10**9
    assert priced("gpt-5.6-sol", at=after).cost(million) == 20 * 10**9


# ---------------------------------------------------------------------------------------------------- configured prices
def test_images_cost_by_size_and_quality() -> None:
    units = {Unit.IMAGE: {"1024x1024": Fraction(40), "1024x1024/hd": Fraction(80), "1792x1024/hd": Fraction(120)}}
    price = one({}, units=units)
    assert price.cost(Usage(), Extras(images=2, image="1024x1024/hd")) == 160
    assert price.cost(Usage(), Extras(images=2, image="1024x1024/standard")) == 80
    assert price.cost(Usage(), Extras(images=2, image="512x512")) is None
    assert price.highest(Extras(images=2, image="auto")) == Price(0, 0, 240)
    assert price.highest(Extras(images=1, image="1024x1024")) == Price(0, 0, 40)


def test_a_configured_price_wins_from_its_day_on_and_the_latest_of_several() -> None:
    def dated(day: date, dollars: str) -> ModelPrice:
        tokens = TokenPrices(*[nanodollars(Decimal(dollars), 10**6)] * 2)
        return ModelPrice("configuration", day, {STANDARD: (Level(0, tokens),)})

    book = PriceBook({"gpt-4o-mini": [dated(date(2026, 6, 1), "3"), dated(date(2026, 3, 1), "2")]})
    costs = {
        at: priced("gpt-4o-mini", at=datetime.fromisoformat(at), book=book).cost(Usage(1, 0, 0, 0))
        for at in (
            "2026-02-28T23:59:59+00:00",
            "2026-03-01T00:00:00+00:00",
            "2026-06-01T00:30:00+02:00",
            "2026-06-01T00:00:00+00:00",
        )
    }
    assert list(costs.values()) == [150, 2000, 2000, 3000]
    assert priced("gpt-4o-mini", book=book).source == "configuration"
    assert priced("gpt-4o-mini").source == f"genai-prices {genai_prices.__version__}"


def test_a_price_is_a_value_that_nobody_can_change() -> None:
    price = priced("gpt-4o-mini")
    for mapping in (price.levels, price.units):
        with pytest.raises(TypeError):
            mapping["x"] = ()  # type: ignore[index]
    assert price == priced("gpt-4o-mini", book=PriceBook())


def test_a_price_is_looked_up_once_a_day(monkeypatch: pytest.MonkeyPatch) -> None:
    book = PriceBook()
    first = book.price("gpt-4o-mini", "openai", NOW)
    monkeypatch.setattr("chatapi.domain.price_book.known_prices", lambda *_: pytest.fail("looked up again"))
    assert book.price("gpt-4o-mini", "openai", NOW.replace(hour=23)) is first


def test_nothing_is_imported_before_it_is_needed_and_nothing_asks_the_network() -> None:
    script = """
import socket, sys, threading
from datetime import UTC, datetime
def refuse(*args, **kwargs): raise AssertionError("the network was asked")
socket.socket.connect = socket.getaddrinfo = refuse
from chatapi.domain.price_book import PriceBook
assert "genai_prices" not in sys.modules
book = PriceBook(); book.load()
assert "genai_prices.data" in sys.modules
assert book.price("gpt-4o", None, datetime.now(UTC)) and threading.active_count() == 1
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
