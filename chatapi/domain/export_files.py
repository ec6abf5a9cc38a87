"""Files that providers' exports come in: CSV or JSON of any length, read a row at a time."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from itertools import chain
from typing import IO, Any, cast

from chatapi.domain import azure_export, openai_export
from chatapi.domain.json_stream import BadJson, Element, Path, elements
from chatapi.domain.provider_usage import Export

BUCKETS: Path = ("data",)
COLUMNS: Path = ("properties", "columns")
ROWS: Path = ("properties", "rows")
OBJECTS: Path = ("value",)
WHOLE: Path = ()
LISTS = frozenset({BUCKETS, COLUMNS, ROWS, OBJECTS, WHOLE})
UNKNOWN = (
    "this is no export that is known here: OpenAI's usage or costs (CSV, or JSON of its API), or Azure's Cost"
    " Management (CSV or JSON)"
)


def read_file(export: Export, name: str, stream: IO[bytes]) -> None:
    """Add a file to an export. What is wrong becomes a problem of it, with the file's name and the line."""
    text = io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline="")
    try:
        start = text.read(1)
        while start.isspace():
            start = text.read(1)
        whole = cast(IO[str], _Joined(start, text))
        if not start:
            export.problem(name, "it is empty")
        elif start in "{[":
            _read_json(export, name, whole)
        else:
            _read_csv(export, name, whole)
    finally:
        text.detach()


class _Joined(io.TextIOBase):
    """A text whose beginning was read already."""

    def __init__(self, start: str, rest: IO[str]) -> None:
        self._start = start
        self._rest = rest

    def read(self, size: int | None = -1) -> str:
        """The next characters."""
        start, self._start = self._start, ""
        return start + self._rest.read(-1 if size is None else size)

    def readline(self, size: int = -1) -> str:  # type: ignore[override]
        """The next line with its end."""
        start, self._start = self._start, ""
        return start + self._rest.readline(size)


def _read_csv(export: Export, name: str, text: IO[str]) -> None:
    header = text.readline(100_000)
    delimiter = max(",;\t", key=header.count)
    reader = csv.reader(chain([header], text), delimiter=delimiter, strict=True)
    columns: list[str] = []
    add: Callable[[Export, dict[str, str]], None] | None = None
    line = 1
    while True:
        try:
            cells = next(reader)
            if not columns:
                columns, add = _columns(cells)
            elif add is not None and any(cells):
                _add_cells(export, columns, cells, add)
        except StopIteration:
            return
        except (ValueError, csv.Error) as error:
            is_lost = add is None or isinstance(error, csv.Error)  # nothing further down could be understood
            what = f"{error}; what is below was not read" if isinstance(error, csv.Error) else str(error)
            export.problem(f"{name}, line {line}", what)
            if is_lost:
                return
        line = reader.line_num + 1


def _columns(cells: list[str]) -> tuple[list[str], Callable[[Export, dict[str, str]], None]]:
    """How the columns are called here, and who understands them."""
    plain = [cell.strip().lower() for cell in cells]
    if openai_export.is_openai(set(plain)):
        return plain, openai_export.add_row
    azure = [azure_export.column_name(cell) for cell in cells]
    if azure_export.is_azure(set(azure)):
        return azure, azure_export.add_row
    raise ValueError(UNKNOWN)


def _add_cells(
    export: Export, columns: list[str], cells: list[str], add: Callable[[Export, dict[str, str]], None]
) -> None:
    if len(cells) != len(columns):
        raise ValueError(f"has {len(cells)} cells where the first line names {len(columns)} columns")
    if any("\udc80" <= letter <= "\udcff" for cell in cells for letter in cell):
        raise ValueError("is not UTF-8")
    row: dict[str, str] = {}
    for column, cell in zip(columns, cells, strict=True):
        row[column] = row.get(column) or cell
    add(export, row)


def _read_json(export: Export, name: str, text: IO[str]) -> None:
    names: list[str] = []
    count = 0
    try:
        for element in elements(text, LISTS):
            if element.path == COLUMNS:
                names = [*names, *_named(element)]
                continue
            try:
                count += _add_element(export, element, names)
            except ValueError as error:
                export.problem(f"{name}, line {element.line}, {'.'.join(element.path) or 'element'}", str(error))
    except BadJson as error:
        export.problem(f"{name}, line {error.line}", str(error))
        return
    if not count and not export.problems:
        export.problem(name, UNKNOWN)


def _named(element: Element) -> Iterator[str]:
    value = element.value
    yield azure_export.column_name(str(value.get("name", ""))) if isinstance(value, dict) else ""


def _add_element(export: Export, element: Element, names: list[str]) -> int:
    """Add what is usage. Returns how many rows that was."""
    value: Any = element.value
    if element.path == BUCKETS or (element.path == WHOLE and _is_bucket(value)):
        openai_export.add_bucket(export, value)
    elif element.path == ROWS:
        if not isinstance(value, list) or len(value) != len(names):
            raise ValueError("the row is not as its columns say, or these do not come before it")
        if not azure_export.is_azure(set(names)):
            raise ValueError("its columns name no date and no meter: group the query by day and meter")
        azure_export.add_row(export, dict(zip(names, value, strict=True)))
    elif element.path in (OBJECTS, WHOLE):
        azure_export.add_object(export, value)
    else:
        if element.path == ("has_more",) and value is True:
            export.remark("pages say that there are more behind them: give all pages")
        return 0
    return 1


def _is_bucket(value: Any) -> bool:
    return isinstance(value, dict) and "start_time" in value
