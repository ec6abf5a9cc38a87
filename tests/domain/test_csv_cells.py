"""CSV that spreadsheets open without running anything in it."""

from __future__ import annotations

import csv
import io
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatapi.domain.csv_cells import FORMULA_STARTS, csv_lines


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_a_text_that_a_spreadsheet_would_run_gets_an_apostrophe(start: str) -> None:
    [[cell]] = csv.reader(io.StringIO(next(csv_lines([f'{start}cmd|"/c calc"!A1'], ())), newline=""))
    assert cell == f'\'{start}cmd|"/c calc"!A1'


def test_numbers_stay_numbers_and_nothing_is_empty() -> None:
    assert next(csv_lines([-5, 12, Decimal("-0.000000001"), Decimal("1E+3"), None, "-5", "5"], ())) == (
        "-5,12,-0.000000001,1000,,'-5,5\r\n"
    )


@given(st.lists(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=2, max_size=2)))
def test_what_is_written_is_read_back_by_any_reader_of_rfc_4180(rows: list[list[str]]) -> None:
    written = "".join(csv_lines(["one", "two"], rows))
    read = list(csv.reader(io.StringIO(written, newline=""), strict=True))
    assert read[0] == ["one", "two"]
    for row, cells in zip(rows, read[1:], strict=True):
        assert not any(cell.startswith(FORMULA_STARTS) for cell in cells)
        assert [cell.removeprefix("'") if text.startswith(FORMULA_STARTS) else cell
                for text, cell in zip(row, cells, strict=True)] == row  # fmt: skip
