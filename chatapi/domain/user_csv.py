"""The CSV of users: one line a user, checked whole before anything is done with it.

The first line names the columns, in any order:
- `username`, and `password` or `password_hash` (argon2id): exactly one of the two on each line; a file without either
  column changes users that there are, and makes none;
- `tenant`: `default` when the column is absent or the cell empty, or the one that the file is for;
- `role`: `user`, `admin` or `operator`; an empty cell is `user`; without the column users keep theirs;
- `status`: `active`, `disabled`, or `closed` of users that are; with an empty cell or no column users keep theirs;
- `daily_requests`, `daily_tokens`: a number, `unlimited`, or empty to inherit; without the column users keep theirs.
UTF-8, with or without a BOM; lines end in LF, CRLF or CR; quotes as in RFC 4180.

No message repeats what a cell holds, for it might be a password in the wrong place.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import IO, TypeVar

from chatapi.domain.effective_limits import LimitSetting, read_limit
from chatapi.domain.limits import Metric
from chatapi.domain.names import DEFAULT_TENANT, name_problem, username_problem
from chatapi.domain.password_hashes import hash_problem
from chatapi.domain.passwords import password_problem
from chatapi.domain.principals import Role, Status
from chatapi.errors import InvalidInput

LIMIT_COLUMNS = {"daily_requests": Metric.REQUESTS, "daily_tokens": Metric.TOKENS}
COLUMNS = ("username", "password", "tenant", "role", "status", *LIMIT_COLUMNS, "password_hash")
SECRETS = frozenset({"password", "password_hash"})
MOST_LINES_OF_A_RECORD = 20

E = TypeVar("E", bound=StrEnum)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a file, and the physical line (from 1) on which its record begins."""

    line: int
    what: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.what}"


class InvalidUserFile(InvalidInput):
    """Every problem of a file of users; nothing was done with it."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = tuple(sorted(problems, key=lambda problem: problem.line))
        super().__init__("\n".join(map(str, self.problems)))


@dataclass(frozen=True, slots=True)
class UserRow:
    """One user of the file: `password` or `password_hash` is set, or neither where the file has neither column.

    Args:
        line: the physical line (from 1) on which the record begins.
        role: None when the file has no such column.
        status: None when the file has no such column, or nothing in it.
        daily_limits: only of the columns that the file has.
    """

    line: int
    username: str
    tenant: str = DEFAULT_TENANT
    role: Role | None = None
    password: str | None = field(default=None, repr=False)
    password_hash: str | None = field(default=None, repr=False)
    daily_limits: dict[Metric, LimitSetting] = field(default_factory=dict)
    status: Status | None = None

    @property
    def has_secret(self) -> bool:
        """Whether it says what the user's password is."""
        return self.password is not None or self.password_hash is not None


def parse(stream: IO[str] | IO[bytes], tenant: str = DEFAULT_TENANT) -> list[UserRow]:
    """Read a file of users.

    Args:
        stream: the file, opened.
        tenant: the name of the tenant of rows that name none.

    Raises:
        InvalidUserFile: with every problem of every line.
    """
    problems: list[Problem] = []
    records = _records(_lines(stream.read(), problems), problems)
    header = next(records, None)
    if header is None:
        raise InvalidUserFile(
            problems or [Problem(1, f"the file is empty; its first line names the columns: {_known()}")]
        )
    columns = _columns(*header, problems)
    rows, seen = [], dict[str, int]()
    for line, cells in records:
        if len(cells) != len(columns):
            counts = f"has {len(cells)} cells where the first line names {len(columns)} columns"
            problems.append(Problem(line, f"{counts}; what has a comma in it, as hashes have, must be in quotes"))
            continue
        row = _row(line, dict(zip(columns, cells, strict=True)), tenant, problems)
        first = seen.setdefault(row.username, line)
        if first != line and row.username:
            problems.append(Problem(line, f"the username is on line {first} already"))
        rows.append(row)
    if problems:
        raise InvalidUserFile(problems)
    return rows


def _lines(content: str | bytes, problems: list[Problem]) -> list[str]:
    """The physical lines with their ends; one that is not UTF-8 becomes a problem and an empty line."""
    if isinstance(content, str):
        text = content
    elif content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise InvalidUserFile([Problem(1, "the file is UTF-16; save it as UTF-8")])
    else:
        try:
            text = content.decode("utf-8")
        except UnicodeDecodeError:
            return list(_decoded(content, problems))
    return list(io.StringIO(text.removeprefix("\ufeff"), newline=""))


def _decoded(content: bytes, problems: list[Problem]) -> Iterator[str]:
    # Latin-1 keeps every byte, so lines are split as those of a good file are: CR and LF are no part of any character.
    for number, line in enumerate(io.StringIO(content.decode("latin-1"), newline=""), 1):
        try:
            yield line.encode("latin-1").decode("utf-8").removeprefix("\ufeff" if number == 1 else "")
        except UnicodeDecodeError as error:
            problems.append(Problem(number, f"is not UTF-8 (byte {error.start + 1} of the line)"))
            yield "\n"


class _UnclosedQuote(Exception):
    """A record goes on for more lines than any record should."""


def _records(lines: list[str], problems: list[Problem]) -> Iterator[tuple[int, list[str]]]:
    """The records that are not blank, each with the number of its first line.

    After a record that is broken, reading goes on at the line after its first, so that one quote too many does not hide
    what is wrong further down.
    """
    start = position = 0

    def feed() -> Iterator[str]:
        nonlocal position
        while position < len(lines):
            if position - start >= MOST_LINES_OF_A_RECORD:
                raise _UnclosedQuote
            position += 1
            yield lines[position - 1]

    while position < len(lines):
        reader = csv.reader(feed(), strict=True)
        while True:
            start = position
            try:
                cells = next(reader)
            except StopIteration:
                return
            except _UnclosedQuote:
                problems.append(Problem(start + 1, "a quote is opened and not closed"))
            except csv.Error as error:
                unclosed = "unexpected end" in str(error)
                what = "a quote is opened and not closed" if unclosed else f"is no well-formed CSV: {error}"
                problems.append(Problem(start + 1, what))
            else:
                if len(cells) > 1 or "".join(cells).strip():
                    yield start + 1, cells
                continue
            position = start + 1
            break


def _columns(line: int, cells: list[str], problems: list[Problem]) -> list[str]:
    """The names of the columns; raises at once where the lines below could not be understood by them."""
    columns = [cell.strip().lower() for cell in cells]
    if not set(columns) & set(COLUMNS):  # it may be a user with a password: it is not repeated
        problems.append(
            Problem(line, f"names no known column; the first line names them, with commas between: {_known()}")
        )
        raise InvalidUserFile(problems)
    unknown = [cell for cell in columns if cell not in COLUMNS]
    problems += [Problem(line, f"unknown column {cell!r}; known are {_known()}") for cell in unknown]
    twice = {cell for cell in columns if columns.count(cell) > 1 and cell in COLUMNS}
    fatal = [Problem(line, f"column {cell!r} is there twice") for cell in sorted(twice)]
    if "username" not in columns:
        fatal.append(Problem(line, "there is no column 'username'"))
    if fatal:
        raise InvalidUserFile(problems + fatal)
    return columns


def _row(line: int, cells: dict[str, str], default_tenant: str, problems: list[Problem]) -> UserRow:
    found: list[str] = []
    username, tenant = cells["username"], cells.get("tenant", "") or default_tenant
    for what, problem in (("username", username_problem(username)), ("tenant", name_problem(tenant))):
        if problem:
            found.append(f"{what} {problem}")
    password, password_hash = cells.get("password") or None, cells.get("password_hash", "").strip() or None
    if SECRETS & cells.keys():
        found += _secret_problems(password, password_hash)
    role = _one_of(Role, cells["role"].strip() or Role.USER, "role", found) if "role" in cells else None
    status = _one_of(Status, text, "status", found) if (text := cells.get("status", "").strip()) else None
    limits: dict[Metric, LimitSetting] = {}
    for column, metric in LIMIT_COLUMNS.items():
        if column in cells:
            try:
                limits[metric] = read_limit(cells[column])
            except ValueError as error:
                found.append(f"{column} {error}")
    problems += [Problem(line, what) for what in found]
    return UserRow(line, username, tenant, role, password, password_hash, limits, status)


def _one_of(kind: type[E], text: str, column: str, found: list[str]) -> E | None:
    try:
        return kind(text.lower())
    except ValueError:
        *others, last = kind
        found.append(f"{column} must be {', '.join(others)} or {last}")
        return None


def _secret_problems(password: str | None, password_hash: str | None) -> Iterator[str]:
    if password is None and password_hash is None:
        yield "password is missing, and there is no password_hash"
    if password is not None and password_hash is not None:
        yield "both password and password_hash are given; give one"
    if password is not None and (problem := password_problem(password)):
        yield f"password {problem}"
    if password_hash is not None and (problem := hash_problem(password_hash)):
        yield f"password_hash {problem}"


def _known() -> str:
    return ", ".join(COLUMNS)
