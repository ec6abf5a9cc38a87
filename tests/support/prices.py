"""Prices to test with: listed ones, and ones made up; and usages of any size."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

from hypothesis import strategies as st

from chatapi.domain.price_book import PriceBook
from chatapi.domain.prices import STANDARD, ModelPrice, nanodollars
from chatapi.domain.token_prices import Level, TokenPrices
from chatapi.domain.usage import Usage

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
BOOK = PriceBook()
COUNTS = st.integers(0, 2_000_000)
CHAT_MODELS = ["gpt-4o-mini", "gpt-4o-2024-08-06", "gpt-4.1", "o3", "gpt-5", "gpt-5.4", "gpt-6-sol", "gpt-3.5-turbo"]


@st.composite
def usages(draw: st.DrawFn, counts: st.SearchStrategy[int] = COUNTS) -> Usage:
    prompt, completion = draw(counts), draw(counts)
    return Usage(prompt, draw(st.integers(0, prompt)), completion, draw(st.integers(0, completion)))


def one(per_token: dict[str, str], *longer: Level, **rest: object) -> ModelPrice:
    """A configured price, in dollars per million tokens."""
    tokens = TokenPrices(**{kind: nanodollars(Decimal(price), 10**6) for kind, price in per_token.items()})
    return ModelPrice("configuration", None, {STANDARD: (Level(0, tokens), *longer)}, **rest)  # type: ignore[arg-type]


def priced(model: str, provider: str | None = "openai", at: datetime = NOW, book: PriceBook = BOOK) -> ModelPrice:
    price = book.price(model, provider, at)
    assert price is not None
    return price
