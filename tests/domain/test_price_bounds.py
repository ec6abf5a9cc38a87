"""The most that a call can cost, how its cost is rounded, and what has no price at all."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatapi.domain.extras import OTHER, Extras, Unit
from chatapi.domain.limits import Need, Price
from chatapi.domain.price_book import PriceBook
from chatapi.domain.prices import STANDARD, ModelPrice
from chatapi.domain.token_prices import Level, TokenPrices
from chatapi.domain.usage import Usage
from tests.support.prices import BOOK, CHAT_MODELS, COUNTS, NOW, one, priced, usages


# ---------------------------------------------------------------------------------------------------------- the bound
@given(
    usages(),
    st.sampled_from([*CHAT_MODELS, "gpt-audio", "gpt-image-1.5", "gpt-realtime", "sonar-pro", "sonar-deep-research"]),
    st.tuples(*[COUNTS] * 5).map(lambda counts: Extras(*counts)),
    st.sampled_from(["default", "priority", "flex", "fast", STANDARD]),
    st.integers(0, 300_000),
    st.integers(0, 300_000),
)
def test_no_usage_of_so_many_tokens_costs_more_than_the_highest_price(
    usage: Usage, model: str, extras: Extras, tier: str, unused_prompt: int, unused_completion: int
) -> None:
    price = priced(model, "perplexity" if model.startswith("sonar") else "openai")
    prompt_bound, completion = usage.prompt_tokens + unused_prompt, usage.completion_tokens + unused_completion
    cost = price.cost(usage, extras, tier)
    assert price.bound(prompt_bound, completes=True) == price.highest(prompt_bound=prompt_bound)
    for highest in (price.highest(), price.highest(prompt_bound=prompt_bound, service_tier=tier)):
        need = Need(prompt_bound, completion, 0, price=highest)
        assert cost is not None
        assert highest is not None
        assert cost <= need.cost(completion)


FRACTIONS = st.fractions(0, 1_000_000, max_denominator=10**6)


@given(
    st.builds(TokenPrices, FRACTIONS, FRACTIONS, *[st.none() | FRACTIONS] * 9),
    st.builds(TokenPrices, FRACTIONS, FRACTIONS, *[st.none() | FRACTIONS] * 9),
    st.integers(1, 1000),
    usages(st.integers(0, 2000)),
    st.builds(
        Extras,
        *[st.integers(0, 1500)] * 5,
        images=st.integers(0, 9),
        image=st.sampled_from([OTHER, "big", "big/hd", "auto"]),
        seconds=st.decimals(0, 99, places=3),
        web_searches=st.just(0),
        file_searches=st.just(0),
    ),
    FRACTIONS,
)
def test_the_bound_holds_for_any_prices_at_all(
    short: TokenPrices, long: TokenPrices, start: int, usage: Usage, extras: Extras, fee: Fraction
) -> None:
    units = {Unit.IMAGE: {OTHER: fee, "big": fee / 3}, Unit.SECOND: {OTHER: fee / 7}}
    price = ModelPrice("configuration", None, {STANDARD: (Level(0, short), Level(start, long))}, units, fee)
    cost, highest = price.cost(usage, extras), price.highest(extras, prompt_bound=usage.prompt_tokens)
    assert cost is not None
    assert highest is not None
    assert all(isinstance(part, int) for part in highest)
    assert cost <= Need(usage.prompt_tokens, usage.completion_tokens, 0, price=highest).cost(usage.completion_tokens)


def test_the_bound_is_tight_where_the_prompt_and_the_service_tier_are_known() -> None:
    price = priced("gpt-5.4")
    assert price.highest(prompt_bound=272_000, service_tier="default") == Price(2500, 15_000)
    assert price.highest(prompt_bound=272_001, service_tier="default") == Price(5000, 22_500)
    assert price.highest() == Price(5000, 30_000)


def test_the_bound_of_a_token_is_rounded_up() -> None:
    assert one({"prompt": "0.0000001", "completion": "0.0011"}).highest() == Price(1, 2)


def test_the_bound_of_what_is_no_token_is_rounded_up() -> None:
    price = one({}, request=Fraction(3, 2), units={Unit.SECOND: {OTHER: Fraction(1, 6)}})
    assert price.highest(Extras(seconds=4)) == Price(0, 0, 3)  # 2 1/6


@pytest.mark.parametrize("kind", TokenPrices._fields)
def test_any_kind_of_token_may_be_the_dearest(kind: str) -> None:
    highest = one({"prompt": "0.002", "completion": "0.001"} | {kind: "0.009"}).highest()
    assert highest in (Price(9, 1), Price(2, 9))


# ---------------------------------------------------------------------------------------------------- rounded only once
def test_a_sum_is_rounded_once_and_half_up() -> None:
    price = one({"prompt": "0.0005", "cached": "0.0005", "completion": "0.0005"})  # half a nano-dollar each
    assert price.cost(Usage(1, 0, 0, 0)) == 1
    assert price.cost(Usage(2, 1, 1, 0)) == 2  # 1.5: three roundings would make it 3
    third = one({}, request=Fraction(1, 3), units={Unit.SECOND: {OTHER: Fraction(1, 6)}})
    assert third.cost(Usage(), Extras(seconds=1)) == 1  # exactly a half
    assert third.cost(Usage()) == 0


def test_amounts_that_no_float_could_hold_stay_exact() -> None:
    price = one({"prompt": "0.123456789", "completion": "0"})
    assert price.cost(Usage(10**12, 0, 1, 0)) == 123_456_789_000_000


# ----------------------------------------------------------------------------------------------- unpriced is not free
@pytest.mark.parametrize("provider", [None, "openai", "azure", "nobody"])
@pytest.mark.parametrize("model", ["my-llama", "gpt-4o-mini-nonsense", "", "dall-e-3", "x" * 100_000])
def test_an_unknown_model_is_unpriced(model: str, provider: str | None) -> None:
    assert BOOK.price(model, provider, NOW) is None


@pytest.mark.parametrize("model", ["omni-moderation-latest", "text-moderation-latest"])
def test_a_model_that_is_listed_without_a_price_is_unpriced(model: str) -> None:
    assert BOOK.price(model, "openai", NOW) is None


def test_a_completion_without_a_price_is_unpriced() -> None:
    price = priced("text-embedding-3-small")
    assert price.cost(Usage(5, 0, 0, 0)) == 100
    assert price.cost(Usage(5, 0, 1, 0)) is None
    assert price.highest() is None
    assert price.highest(completes=False) == Price(20, 0)


def test_a_unit_without_a_price_is_unpriced() -> None:
    speech = priced("gpt-4o-mini-tts")  # by tokens only
    assert speech.cost(Usage(), Extras(characters=100)) is None
    assert speech.cost(Usage(20, 0, 30, 0), Extras(characters=100)) == 20 * 600 + 30 * 12_000
    assert priced("whisper-1").cost(Usage(), Extras(images=1)) is None
    assert priced("whisper-1").highest() is None
    assert priced("gpt-audio").cost(Usage(1, 0, 0, 0), Extras(web_searches=1)) is None
    assert priced("gpt-audio").highest(Extras(web_searches=1)) is None


def test_tokens_of_a_call_that_is_billed_by_the_second_cost_nothing_more() -> None:
    price = priced("whisper-1")
    assert price.cost(Usage(7, 0, 9, 0), Extras(seconds=60)) == 6_000_000
    assert price.highest(Extras(seconds=60)) == Price(0, 0, 6_000_000)


def test_nothing_costs_nothing_only_where_the_configuration_says_so() -> None:
    free = PriceBook({"omni-moderation-latest": [one({"prompt": "0", "completion": "0"})]})
    price = priced("omni-moderation-latest", book=free)
    assert price.cost(Usage(1000, 0, 10, 0)) == 0
    assert price.highest() == Price(0, 0)
