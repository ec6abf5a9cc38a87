"""CSV for spreadsheets: RFC 4180, and no cell that a spreadsheet would run as a formula.

Source: OWASP, "CSV Injection": what begins with one of a few characters is a formula to common spreadsheets, and a
leading apostrophe makes it a text. Numbers stay numbers, negative ones too.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from itertools import chain

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")
MEDIA_TYPE = "text/csv; charset=utf-8; header=present"

Cell = str | int | Decimal | None
"""A text, a number, or nothing."""


def safe_cell(value: Cell) -> str:
    """A cell's content as it is written, before any quotes."""
    if value is None:
        return ""
    if isinstance(value, str):
        return f"'{value}" if value.startswith(FORMULA_STARTS) else value
    return f"{value:f}" if isinstance(value, Decimal) else str(value)


def csv_lines(columns: Sequence[Cell], rows: Iterable[Sequence[Cell]]) -> Iterator[str]:
    """The lines of a CSV with their ends (CRLF), the first one naming the columns; each is made as it is asked for."""
    writer = csv.writer(_Back(), lineterminator="\r\n")
    for row in chain([columns], rows):
        line: str = writer.writerow([safe_cell(cell) for cell in row])
        yield line


class _Back:
    """Gives back what is written: a writer of CSV returns what the file's `write` does."""

    def write(self, line: str) -> str:
        return line
