"""Long results: a table, CSV or JSON list that is written while it is read, whatever its length."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice

import click

from chatapi.cli.output import printable
from chatapi.domain.csv_cells import Cell
from chatapi.logic.renderings import csv_text, json_list

MEASURED = 500  # rows, by which the widths of a table's columns are set; a wider cell further down moves its line


def write_json(records: Iterable[Mapping[str, Cell]]) -> None:
    """A JSON list, one object a line."""
    write_pieces(json_list(records))
    click.echo()


def write_csv(columns: Sequence[str], records: Iterable[Mapping[str, Cell]]) -> None:
    """RFC 4180, its lines ending in CRLF whatever the machine's own are; nothing in it runs in a spreadsheet."""
    write_pieces(csv_text(columns, records))


def write_table(columns: Sequence[str], records: Iterable[Mapping[str, object]]) -> None:
    """A table for people: numbers to the right, with commas; empty where there is nothing."""
    rows = ([record[column] for column in columns] for record in records)
    first = list(islice(rows, MEASURED))
    heads = [column.replace("_", " ") for column in columns]
    right = [any(isinstance(row[place], int) for row in first) for place in range(len(columns))]
    shown = [[_text(cell) for cell in row] for row in first]
    widths = [max(map(len, texts)) for texts in zip(heads, *shown, strict=True)]
    for row in chain([heads], shown, map(_texts, rows)):
        cells = _aligned(row, widths, right)
        click.echo("  ".join(cells).rstrip())


def write_pieces(pieces: Iterable[bytes]) -> None:
    """What is made in pieces, as it is."""
    for piece in pieces:
        click.echo(piece, nl=False)


def _aligned(row: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> Iterator[str]:
    for text, width, is_number in zip(row, widths, right, strict=True):
        yield text.rjust(width) if is_number else text.ljust(width)


def _texts(row: Sequence[object]) -> list[str]:
    return [_text(cell) for cell in row]


def _text(cell: object) -> str:
    if cell is None:
        return ""
    if isinstance(cell, int):
        return f"{cell:,}"
    return printable(str(cell))
