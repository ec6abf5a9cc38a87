"""Long lists as bytes: JSON and CSV that are written while their rows are read, in pieces of a few kilobytes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import orjson

from chatapi.domain.csv_cells import Cell, csv_lines

PIECE_BYTES = 8192


def json_list(records: Iterable[Mapping[str, object]]) -> Iterator[bytes]:
    """A JSON list, one object a line."""
    return in_pieces(_json_list(records))


def json_object(
    head: Mapping[str, object], name: str, records: Iterable[Mapping[str, object]], tail: Iterable[tuple[str, object]]
) -> Iterator[bytes]:
    """A JSON object with a long list in it: what is known before, the list, and what is known after it.

    Args:
        head: the first fields; not empty.
        name: of the list.
        records: the list's objects.
        tail: the last fields; asked for when the list has ended.
    """

    def parts() -> Iterator[bytes]:
        yield orjson.dumps(dict(head))[:-1] + b"," + orjson.dumps(name) + b":"
        yield from _json_list(records)
        for field, value in tail:
            yield b"," + orjson.dumps(field) + b":" + orjson.dumps(value)
        yield b"}\n"

    return in_pieces(parts())


def csv_text(columns: Sequence[str], records: Iterable[Mapping[str, Cell]]) -> Iterator[bytes]:
    """CSV in UTF-8."""
    lines = csv_lines(columns, ([record[column] for column in columns] for record in records))
    return in_pieces(line.encode() for line in lines)


def in_pieces(parts: Iterable[bytes]) -> Iterator[bytes]:
    """Small parts together, in pieces that are worth sending."""
    piece = bytearray()
    for part in parts:
        piece += part
        if len(piece) >= PIECE_BYTES:
            yield bytes(piece)
            piece.clear()
    if piece:
        yield bytes(piece)


def _json_list(records: Iterable[Mapping[str, object]]) -> Iterator[bytes]:
    before = b"[\n"
    for record in records:
        yield before + orjson.dumps(dict(record))
        before = b",\n"
    yield b"[]" if before == b"[\n" else b"\n]"
