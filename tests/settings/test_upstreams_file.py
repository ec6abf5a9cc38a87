"""The upstreams file: what it means when nothing is wrong in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import FrozenInstanceError
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatapi.domain.extras import Extras
from chatapi.domain.limits import Price
from chatapi.domain.price_book import PriceBook
from chatapi.domain.usage import Usage
from chatapi.settings.upstreams import Breaker, Retries
from chatapi.settings.upstreams_file import load_upstreams_file
from tests.support.upstreams_files import AZURE_KEY, ENVIRONMENT, EXAMPLE, GOOD, KEY, Load

NOW = datetime(2026, 11, 21, tzinfo=UTC)


# ------------------------------------------------------------------------------------------------------ what it means
def test_the_example_is_right_and_means_what_its_comments_say() -> None:
    file = load_upstreams_file(EXAMPLE, ENVIRONMENT)
    openai, azure, basement = file.upstreams
    assert (openai.base_url, openai.api_key, openai.weight) == ("https://api.openai.com/v1", KEY, 3)
    assert (azure.api_key, azure.api_version, azure.prices_of) == (AZURE_KEY, "2024-10-21", "azure")
    assert (basement.api_key, basement.weight, basement.prices_of) == (None, 0, None)
    assert azure.name_of("gpt-4o-mini") == "our-deployment"
    assert azure.name_of("gpt-4o") == "gpt-4o"
    assert all(upstream.serves("gpt-4o-mini") for upstream in file.upstreams)
    assert [upstream for upstream in file.upstreams if upstream.serves("gpt-4o-mini-2024-07-18")] == [openai]
    assert not any(upstream.serves("claude") for upstream in file.upstreams)
    assert (file.resolved("gpt-3.5-turbo"), file.resolved("o3")) == ("gpt-4o-mini", "o3")
    assert (file.retries, file.breaker) == (Retries(3, 0.2, 10), Breaker(5, 10.0))
    llama = file.models["llama-3.3-70b"]
    assert (llama.default_completion_tokens, llama.largest_completion_tokens, llama.reasons) == (1024, 8192, False)


def test_the_examples_prices_are_charged() -> None:
    book = PriceBook.of(load_upstreams_file(EXAMPLE, ENVIRONMENT).models)
    million = Usage(1_000_000, 500_000, 1_000_000, 0)
    before, after = datetime(2026, 6, 30, tzinfo=UTC), datetime(2026, 7, 1, tzinfo=UTC)
    llama = [book.price("llama-3.3-70b", None, at) for at in (before, after)]
    assert [price and price.cost(million) for price in llama] == [300_000_000, 210_000_000]
    assert [price and price.since for price in llama] == [None, date(2026, 7, 1)]
    images = book.price("dall-e-3", "openai", NOW)
    assert images is not None
    assert images.cost(Usage(), Extras(images=1, image="1024x1024/hd")) == 80_000_000
    assert images.cost(Usage(), Extras(images=1, image="256x256")) == 120_000_000
    free = book.price("omni-moderation-latest", "openai", NOW)
    assert free is not None
    assert (free.cost(million), free.source) == (0, "configuration")
    listed = book.price("gpt-4o-mini", "openai", NOW)
    assert listed is not None
    assert listed.source.startswith("genai-prices")


def test_every_kind_of_price_is_charged(load: Load) -> None:
    text = (
        GOOD
        + """
[[models]]
name = "m"
[[models.prices]]
prompt = 0.15
cached_prompt = "0.075"
cache_write = "0.1875"
prompt_audio = 10
prompt_image = 8
completion = "0.60"
reasoning = 1
completion_audio = 20
completion_image = 30
per_request = "0.001"
per_image = 0.02
per_second = "0.0001"
per_character = "0.000015"
per_web_search = "0.01"
per_file_search = "0.0025"
longer = [{ above = 200, prompt = "0.30", completion = "0.90" }]
"""
    )
    price = PriceBook.of(load(text).models).price("m", "openai", NOW)
    assert price is not None
    usage = Usage(100, 10, 100, 10)
    extras = Extras(20, 30, 5, 40, 6, 1, "", 3, 4, 1, 1)
    prompt = 10 * 75 + Decimal(20) * Decimal("187.5") + 30 * 10_000 + 5 * 8_000 + 35 * 150
    completion = 10 * 1000 + 40 * 20_000 + 6 * 30_000 + 44 * 600
    others = 10**6 + 2 * 10**7 + 300_000 + 60_000 + 10**7 + 2_500_000
    assert price.cost(usage, extras) == prompt + completion + others
    assert price.cost(Usage(201, 1, 1, 0)) == 200 * 300 + 75 + 900 + 10**6  # a longer prompt; cached as before
    assert price.highest(prompt_bound=10) == Price(10_000, 30_000, 10**6)


@given(st.decimals(0, 1000, places=9), st.booleans())
@settings(max_examples=50)
def test_a_price_is_read_to_its_last_digit(
    tmp_path_factory: pytest.TempPathFactory, price: Decimal, quoted: bool
) -> None:
    written = f'"{price:f}"' if quoted else f"{price:f}"
    file = tmp_path_factory.getbasetemp() / "exact.toml"
    file.write_text(GOOD + f'[[models]]\nname = "m"\nprices = [{{ prompt = {written}, completion = 1 }}]\n')
    read = load_upstreams_file(file, ENVIRONMENT).models["m"].prices[0].per_million[0]["prompt"]
    assert (read, type(read)) == (price, Decimal)


def test_what_is_not_said_has_its_default(load: Load) -> None:
    file = load(GOOD)
    assert (file.aliases, file.models, file.retries, file.breaker) == ({}, {}, Retries(), Breaker())
    assert (file.upstreams[0].weight, file.upstreams[0].models) == (1, ("*",))


def test_keys_come_from_files_beside_it(load: Load, tmp_path: Path) -> None:
    (tmp_path / "openai.key").write_text(f"{KEY}\n")
    assert load(GOOD.replace("_env", "_file").replace("OPENAI_API_KEY", "openai.key")).upstreams[0].api_key == KEY


@pytest.mark.parametrize("change", [lambda text: "\ufeff" + text, lambda text: text.replace("\n", "\r\n")])
def test_files_of_other_editors_are_read(load: Load, change: Callable[[str], str]) -> None:
    assert load(change(GOOD)).upstreams[0].name == "openai"


def test_nothing_of_it_can_be_changed(load: Load) -> None:
    file = load(GOOD + '[aliases]\n"a" = "b"\n')
    with pytest.raises(FrozenInstanceError):
        file.upstreams[0].weight = 7  # type: ignore[misc]
    with pytest.raises(TypeError):
        file.aliases["a"] = "c"  # type: ignore[index]
