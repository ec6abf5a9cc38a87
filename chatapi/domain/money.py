"""Money: integers of nano-dollars inside, US dollars in decimal for people."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

NANODOLLARS = 10**9
MOST_NANODOLLARS = 10**18  # a billion dollars; sums of it fit into 64 bits


def read_dollars(text: str) -> int:
    """An amount such as "12.50" or "$12.50", in nano-dollars.

    Raises:
        ValueError: it is no amount from 0 to a billion dollars, or finer than a nano-dollar.
    """
    try:
        exact = Decimal(text.strip().removeprefix("$")) * NANODOLLARS
    except InvalidOperation:
        raise ValueError(text) from None
    if not exact.is_finite() or exact != int(exact) or not 0 <= exact <= MOST_NANODOLLARS:
        raise ValueError(text)
    return int(exact)


def in_dollars(nanodollars: int) -> str:
    """The amount with a dollar sign: at least cents, and as exact as it is."""
    whole, rest = divmod(abs(nanodollars), NANODOLLARS)
    cents = f"{rest:09}".rstrip("0").ljust(2, "0")
    return f"{'-' if nanodollars < 0 else ''}${whole:,}.{cents}"
