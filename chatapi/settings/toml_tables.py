"""Reading a TOML file so that everything that is wrong in it is found at once, each with its line.

A `Table` gives typed values by key. What is missing or wrong is added to the file's `Problems`, and a default given
instead, so that reading goes on; `Problems.raise_if_any` ends it. No message repeats a value: it might be a key.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection, Mapping
from datetime import date, datetime
from decimal import Decimal
from difflib import get_close_matches
from pathlib import Path

from chatapi.errors import ConfigurationError
from chatapi.settings.toml_lines import KeyPath, lines_of

LAST_POSITION = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")


class Problems:
    """What is wrong in one file.

    Args:
        file: as the messages are to name it.
        lines: of each key (`lines_of`).
    """

    def __init__(self, file: Path, lines: Mapping[KeyPath, int]) -> None:
        self._file, self._lines = file, lines
        self._found: list[tuple[int, KeyPath, str]] = []

    def add(self, path: KeyPath, what: str) -> None:
        """Say what is wrong with a key, and what to do; of a key that is missing, the line of its table is named."""
        known = next((path[:length] for length in range(len(path), 0, -1) if path[:length] in self._lines), ())
        self._found.append((self._lines.get(known, 1), path, what))

    def under(self, path: KeyPath) -> bool:
        """Whether anything is wrong with a key, or in what is under it."""
        return any(where[: len(path)] == path for _, where, _ in self._found)

    def each(self) -> list[tuple[str, str]]:
        """Each key that something is wrong with, dotted, and what."""
        return [(_dotted(path), what) for _, path, what in self._found]

    def raise_if_any(self) -> None:
        """End the reading.

        Raises:
            ConfigurationError: one line for each problem: file, line, key, and what to do.
        """
        if self._found:
            rows = [
                f"{self._file}:{line}: {_dotted(path)}: {what}" for line, path, what in sorted(self._found, key=_at)
            ]
            raise ConfigurationError("\n".join(rows))


class Table:
    """One table of the file; each method reads one key, and `done` complains of the keys that none has read."""

    def __init__(self, values: Mapping[str, object], path: KeyPath, problems: Problems) -> None:
        self._values, self.path, self._problems = values, path, problems
        self._read: list[str] = []
        self._refused: list[str] = []

    def wrong(self, key: str, what: str) -> None:
        """Say what is wrong with one key of this table."""
        self._problems.add((*self.path, key), what)

    @property
    def is_wrong(self) -> bool:
        """Whether anything in it is wrong."""
        return self._problems.under(self.path)

    def refuse(self, key: str, why: str) -> bool:
        """Whether a key is there that must not be; no message suggests it."""
        self._refused.append(key)
        if key in self._values:
            self.wrong(key, why)
        return key in self._values

    def has(self, key: str) -> bool:
        """Whether the key is there; that counts as reading it."""
        self._read.append(key)
        return key in self._values

    def is_table(self, key: str) -> bool:
        """Whether the key is there, and is a table."""
        return isinstance(self._take(key), dict)

    def text(self, key: str, *, like: str = r"\S(.*\S)?", what: str = "a text") -> str | None:
        """A text that is all `like` a regular expression, in words `what`; None where it is missing or wrong."""
        value = self._take(key)
        if value is None:
            return None
        if isinstance(value, str) and re.fullmatch(like, value):
            return value
        self.wrong(key, f"must be {what}, in quotes")
        return None

    def needed(self, key: str, *, like: str = r"\S(.*\S)?", what: str = "a text") -> str:
        """A text as `text` reads it, that must be there; empty where it is not."""
        if not self.has(key):
            self.wrong(key, f"is missing; set it to {what}")
        return self.text(key, like=like, what=what) or ""

    def choice(self, key: str, choices: Collection[str]) -> str | None:
        """One of several words."""
        names = ", ".join(f'"{choice}"' for choice in choices)
        if not self.has(key):
            self.wrong(key, f"is missing; set it to one of {names}")
            return None
        value = self._take(key)
        if isinstance(value, str) and value in choices:
            return value
        self.wrong(key, f"must be one of {names}{_meant(value, choices)}")
        return None

    def whole(self, key: str, *, least: int, most: int) -> int | None:
        """A whole number in bounds."""
        value = self._take(key)
        if value is None:
            return None
        if isinstance(value, int) and not isinstance(value, bool) and least <= value <= most:
            return value
        self.wrong(key, f"must be a whole number from {least} to {most}, without quotes")
        return None

    def number(self, key: str, *, least: Decimal, most: Decimal, places: int = 12) -> Decimal | None:
        """A number in bounds, in quotes or without, exact to its last decimal place."""
        value = self._take(key)
        if value is None:
            return None
        number = exact(value)
        if number is None or not least <= number <= most:
            self.wrong(key, f"must be a number from {least} to {most}")
        elif -int(number.as_tuple().exponent) > places:
            self.wrong(key, f"has more than {places} decimal places")
        else:
            return number
        return None

    def yes(self, key: str) -> bool | None:
        """True or false."""
        value = self._take(key)
        if value is None or isinstance(value, bool):
            return value
        self.wrong(key, "must be true or false, without quotes")
        return None

    def day(self, key: str) -> date | None:
        """A date."""
        value = self._take(key)
        if value is None or (isinstance(value, date) and not isinstance(value, datetime)):
            return value
        self.wrong(key, "must be a date such as 2026-01-31, without quotes and without a time")
        return None

    def texts(self, key: str) -> tuple[str, ...] | None:
        """A list of texts, at least one."""
        value = self._take(key)
        if value is None:
            return None
        if isinstance(value, list) and value and all(isinstance(each, str) and each.strip() for each in value):
            return tuple(value)
        self.wrong(key, 'must be a list of texts such as ["gpt-4o*", "o3"], none of them empty')
        return None

    def pairs(self, key: str) -> dict[str, str]:
        """A table of texts by name."""
        pairs = {}
        for name, value in self.items(key).items():
            if isinstance(value, str) and value.strip() and name.strip():
                pairs[name] = value
            else:
                self._problems.add((*self.path, key, name), "both sides must be texts in quotes, and not empty")
        return pairs

    def items(self, key: str) -> Mapping[str, object]:
        """A table of anything by name."""
        value = self._take(key)
        if value is None:
            return {}
        if isinstance(value, dict):
            return value
        self.wrong(key, f'must be a table: a section [{key}], or {{ "name" = … }}')
        return {}

    def table(self, key: str) -> Table:
        """A table, empty where it is missing."""
        return Table(self.items(key), (*self.path, key), self._problems)

    def tables(self, key: str) -> list[Table]:
        """An array of tables, none where it is missing."""
        value = self._take(key)
        if value is None:
            return []
        if isinstance(value, list) and all(isinstance(each, dict) for each in value):
            return [Table(each, (*self.path, key, index), self._problems) for index, each in enumerate(value)]
        self.wrong(key, f"must be sections, each under a header in double brackets: [[{_plain((*self.path, key))}]]")
        return []

    def done(self) -> None:
        """Complain of every key that nothing has read."""
        for key in self._values:
            if key not in self._read and key not in self._refused:
                known = f"; known are {', '.join(sorted(set(self._read)))}"
                self.wrong(key, f"unknown key{_meant(key, self._read) or known}")

    def _take(self, key: str) -> object:
        self._read.append(key)
        return self._values.get(key)


def read_toml(file: Path) -> tuple[Table, Problems]:
    """Read a file: its top-level table, and where to say what is wrong in it.

    Raises:
        ConfigurationError: there is no such file, or it is no TOML; with the line.
    """
    try:
        text = file.read_bytes().decode("utf-8-sig")
        values = tomllib.loads(text, parse_float=Decimal)
        problems = Problems(file, lines_of(text.replace("\r\n", "\n")))
    except OSError as error:
        raise ConfigurationError(f"{file}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ConfigurationError(f"{file}:{line}: is not UTF-8 text; save it as UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(_syntax(file, text, str(error))) from None
    except (RecursionError, ValueError, ArithmeticError):
        raise ConfigurationError(f"{file}:1: has numbers too large or brackets too deep for a configuration") from None
    return Table(values, (), problems), problems


def exact(value: object) -> Decimal | None:
    """A number, written in quotes or without, as it stands there; None where it is none."""
    if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
        return None
    if isinstance(value, str) and not re.fullmatch(r"\d{1,30}(\.\d{1,30})?", value, re.ASCII):
        return None
    number = Decimal(value)
    return number if number.is_finite() else None


def _syntax(file: Path, text: str, message: str) -> str:
    found = LAST_POSITION.search(message)
    line = found.group(1) if found and found.group(1) else str(text.rstrip("\n").count("\n") + 1)
    column = f" (column {found.group(2)})" if found and found.group(2) else ""
    return f"{file}:{line}: is no TOML here: {LAST_POSITION.sub('', message)}{column}; see https://toml.io"


def _at(problem: tuple[int, KeyPath, str]) -> tuple[int, str]:
    return problem[0], _dotted(problem[1])


def _dotted(path: KeyPath) -> str:
    """As one would write it, with positions in arrays from 1: upstreams[2].names."gpt-4o.mini"."""
    written = ""
    for part in path:
        if isinstance(part, int):
            written += f"[{part + 1}]"
        else:
            name = part if re.fullmatch(r"[\w-]+", part, re.ASCII) else f'"{part}"'
            written += f".{name}" if written else name
    return written


def _plain(path: KeyPath) -> str:
    return ".".join(part for part in path if isinstance(part, str))


def _meant(value: object, known: Collection[str]) -> str:
    near = get_close_matches(value, known, n=1) if isinstance(value, str) else []
    return f'; did you mean "{near[0]}"?' if near else ""
