"""On which line of a TOML file each of its keys stands, which tomllib does not tell.

Only for text that tomllib has read: what is wrong in it is tomllib's to say, and nothing is checked here again.
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_right

KeyPath = tuple[str | int, ...]  # names of keys, and indices into arrays, from 0

SPACE = re.compile(r"[ \t]*")
BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
KEY = re.compile(r"""[A-Za-z0-9_-]+|"(?:[^"\\]|\\.)*"|'[^']*'""")
STRING = re.compile(
    r'"""(?:[^"\\]|\\.|"{1,2}(?!"))*"{3,5}'
    r"|'''(?:[^']|'{1,2}(?!'))*'{3,5}"
    r'|"(?:[^"\\]|\\.)*"'
    r"|'[^']*'",
    re.DOTALL,
)
BARE = re.compile(r"[^,\]}#\n]*")  # numbers, dates and booleans


def lines_of(text: str) -> dict[KeyPath, int]:
    """The line, from 1, on which each key, table and element of an array begins.

    Args:
        text: TOML that tomllib accepts.
    """
    return _Scanner(text).scan()


class _Scanner:
    def __init__(self, text: str) -> None:
        self._text, self._at = text, 0
        self._newlines = [match.start() for match in re.finditer("\n", text)]
        self._lines: dict[KeyPath, int] = {}
        self._tables: dict[KeyPath, int] = {}  # how many tables each array of tables has so far

    def scan(self) -> dict[KeyPath, int]:
        table: KeyPath = ()
        self._skip(BLANK)
        while self._at < len(self._text):
            if self._text.startswith("[", self._at):
                table = self._header()
            else:
                self._pair(table)
            self._skip(BLANK)
        return self._lines

    def _header(self) -> KeyPath:
        """[table] or [[array of tables]]; returns its path, with the index of each array that it is in."""
        begins, is_array = self._at, self._text.startswith("[[", self._at)
        self._at += 2 if is_array else 1
        path: KeyPath = ()
        names = self._dotted()
        for position, name in enumerate(names):
            path = (*path, name)
            self._note(path, begins)
            if is_array and position == len(names) - 1:
                self._tables[path] = self._tables.get(path, 0) + 1
            if path in self._tables:
                path = (*path, self._tables[path] - 1)
                self._note(path, begins)
        self._at += 2 if is_array else 1
        return path

    def _pair(self, table: KeyPath) -> None:
        begins, path = self._at, table
        for name in self._dotted():
            path = (*path, name)
            self._note(path, begins)
        self._at += 1  # =
        self._skip(SPACE)
        self._value(path)

    def _dotted(self) -> list[str]:
        names = []
        while True:
            self._skip(SPACE)
            written = self._skip(KEY)
            names.append(tomllib.loads(f"k={written}")["k"] if written[0] in "\"'" else written)
            self._skip(SPACE)
            if not self._text.startswith(".", self._at):
                return names
            self._at += 1

    def _value(self, path: KeyPath) -> None:
        match self._text[self._at]:
            case "[":
                self._array(path)
            case "{":
                self._inline(path)
            case '"' | "'":
                self._skip(STRING)
            case _:
                self._skip(BARE)

    def _array(self, path: KeyPath) -> None:
        index = 0
        while self._next("]"):
            self._note((*path, index), self._at)
            self._value((*path, index))
            index += 1

    def _inline(self, path: KeyPath) -> None:
        while self._next("}"):
            self._pair(path)

    def _next(self, end: str) -> bool:
        """Step over the opening bracket or the comma; whether anything follows before the closing one."""
        self._skip(BLANK)
        if self._text[self._at] != end:
            self._at += 1
            self._skip(BLANK)
        if self._text[self._at] != end:
            return True
        self._at += 1
        return False

    def _skip(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self._text, self._at)
        skipped = match.group() if match else ""
        self._at += len(skipped)
        return skipped

    def _note(self, path: KeyPath, at: int) -> None:
        self._lines.setdefault(path, bisect_right(self._newlines, at - 1) + 1)
