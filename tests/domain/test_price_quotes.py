"""Quotes: a price and how long it holds, among overrides, configured prices, and list prices that change by night."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from chatapi.domain.price_book import Override, PriceBook
from chatapi.domain.prices import ModelPrice
from tests.support.prices import one

DAY = datetime(2026, 11, 21, tzinfo=UTC)
INSTANTS = st.integers(-2 * 86_400, 2 * 86_400).map(lambda seconds: DAY + timedelta(seconds=seconds))
CONFIGURED = [one({"prompt": "1"}), ModelPrice("configuration", date(2026, 11, 21), {}), one({"prompt": "3"})]
OVERRIDES = st.lists(
    st.builds(Override, INSTANTS, st.sampled_from([None, *CONFIGURED]), st.booleans()),
    max_size=6,
    unique_by=lambda override: override.begins_at,
)
NIGHTLY = ("deepseek-chat", "deepseek")  # the list has other prices of it by night


@given(st.lists(INSTANTS, min_size=1, max_size=5), OVERRIDES)
def test_a_quote_is_of_the_price_that_holds_until_it_does_not(
    instants: list[datetime], overrides: list[Override]
) -> None:
    alone, book = PriceBook(), PriceBook()
    book.override({NIGHTLY[0]: overrides}, DAY)
    ordered = sorted(overrides, key=lambda each: each.begins_at)
    for at in instants:
        quote = book.quote(*NIGHTLY, at)
        assert quote.since <= at < quote.until
        for instant in (quote.since, at, quote.until - timedelta(microseconds=1)):
            said = [each for each in ordered if each.begins_at <= instant]
            expected = alone.price(*NIGHTLY, instant) if not said or said[-1].ends else said[-1].price
            assert quote.price == expected


def test_overrides_of_one_model_are_no_other_s_and_go_when_they_are_gone() -> None:
    book = PriceBook({"a": CONFIGURED[:1], "b": CONFIGURED[:1]})
    book.override({"a": [Override(DAY, CONFIGURED[2])]}, DAY)
    noon = DAY + timedelta(hours=12)
    assert book.price("a", None, noon) == CONFIGURED[2]
    assert book.price("b", None, noon) == CONFIGURED[0]
    book.override({}, noon)
    assert book.price("a", None, noon) == CONFIGURED[0]
    assert book.good_until == noon
