"""Amounts of money, read and written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatapi.domain.money import MOST_NANODOLLARS, in_dollars, read_dollars


@pytest.mark.parametrize(
    ("text", "nanodollars"),
    [("0", 0), ("12.50", 12_500_000_000), ("$3", 3_000_000_000), (" 0.000000001 ", 1), ("1e3", 1000 * 10**9)],
)
def test_dollars_are_read_exactly(text: str, nanodollars: int) -> None:
    assert read_dollars(text) == nanodollars


@pytest.mark.parametrize("text", ["", "free", "-1", "0.0000000001", "NaN", "Infinity", "1e400", "1,5", "1000000001"])
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^"):
        read_dollars(text)


@given(st.integers(0, MOST_NANODOLLARS))
def test_what_is_written_reads_as_the_same(nanodollars: int) -> None:
    assert read_dollars(in_dollars(nanodollars).replace(",", "")) == nanodollars


def test_amounts_have_cents_at_least() -> None:
    assert [in_dollars(n) for n in (0, 1, 1_500_000_000, 1_234_567_890_000, -20_000_000)] == [
        "$0.00", "$0.000000001", "$1.50", "$1,234.56789", "-$0.02",
    ]  # fmt: skip
