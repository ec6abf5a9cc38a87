"""JSON that is too long to be read at once: the elements of its long lists, one after the other."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import IO, Any, NamedTuple, NoReturn

CHUNK = 65_536
LONGEST_ELEMENT = 16 * 1024 * 1024  # characters

Path = tuple[str, ...]


class Element(NamedTuple):
    """A value, where it stands in its document, and the line (from 1) on which it begins.

    Of an element of a list the path is the list's. Numbers that are not whole are decimals.
    """

    path: Path
    line: int
    value: Any


class BadJson(ValueError):
    """The text is no JSON, from this line on."""

    def __init__(self, line: int, problem: str) -> None:
        super().__init__(problem)
        self.line = line


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


_DECODER = json.JSONDecoder(parse_float=Decimal, parse_constant=_no_number)


def elements(stream: IO[str], lists: frozenset[Path]) -> Iterator[Element]:
    """The elements of these lists, and whatever else there is as a whole, in the order of the text.

    Several documents may follow each other, as when pages of an API are put into one file, or one object a line.

    Args:
        stream: of the text.
        lists: by the names that lead to them; `()` is a document that is a list itself.

    Raises:
        BadJson: it is no JSON, or an element is longer than any should be.
    """
    text = _Text(stream)
    while text.peek():
        yield from _walk(text, (), lists)


def _walk(text: _Text, path: Path, lists: frozenset[Path]) -> Iterator[Element]:
    opening = text.peek()
    if opening == "[" and path in lists:
        for _ in _parts(text, "]"):
            yield Element(path, text.line, text.value())
    elif opening == "{" and any(wanted[: len(path)] == path and len(wanted) > len(path) for wanted in lists):
        for _ in _parts(text, "}"):
            name = text.value()
            if not isinstance(name, str):
                raise BadJson(text.line, "a name is expected")
            text.take(":")
            yield from _walk(text, (*path, name), lists)
    else:
        yield Element(path, text.line, text.value())


def _parts(text: _Text, closing: str) -> Iterator[None]:
    """Stops before each part of a list or an object."""
    text.skip()
    if text.peek() == closing:
        text.skip()
        return
    while True:
        yield
        if text.peek() == closing:
            text.skip()
            return
        text.take(",")


class _Text:
    """The text as far as it is needed."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._buffer = ""
        self._at = 0
        self._has_ended = False
        self.line = 1

    def peek(self) -> str:
        """The next character that is no white space; '' at the end."""
        while True:
            begin = self._at
            while self._at < len(self._buffer) and self._buffer[self._at] in " \t\r\n":
                self._at += 1
            self.line += self._buffer.count("\n", begin, self._at)
            if self._at < len(self._buffer):
                return self._buffer[self._at]
            if not self._read(CHUNK):
                return ""

    def skip(self) -> None:
        """Leave the next character behind."""
        self._at += 1

    def take(self, expected: str) -> None:
        """Leave this character behind."""
        if self.peek() != expected:
            raise BadJson(self.line, f"{expected!r} is expected" if self.peek() else "the text ends too early")
        self.skip()

    def value(self) -> Any:
        """The next value as a whole."""
        self.peek()
        wanted = CHUNK
        while True:
            try:
                value, end = _DECODER.raw_decode(self._buffer, self._at)
                if end < len(self._buffer) or self._has_ended:  # else a number might go on
                    break
            except RecursionError:
                raise BadJson(self.line, "it is nested too deeply") from None
            except ValueError as error:
                if self._has_ended:
                    raise BadJson(self._line_of(error), _said(error)) from None
            if len(self._buffer) - self._at > LONGEST_ELEMENT:
                raise BadJson(self.line, f"no JSON, or an element of more than {LONGEST_ELEMENT:,} characters")
            self._read(wanted)
            wanted *= 2
        self.line += self._buffer.count("\n", self._at, end)
        self._at = end
        return value

    def _line_of(self, error: ValueError) -> int:
        position = getattr(error, "pos", self._at)
        return self.line + self._buffer.count("\n", self._at, position)

    def _read(self, size: int) -> bool:
        """Read more, and forget what is behind. False at the end."""
        more = self._stream.read(size)
        self._has_ended = not more
        self._buffer, self._at = self._buffer[self._at :] + more, 0
        return bool(more)


def _said(error: ValueError) -> str:
    return f"no JSON: {error.msg}" if isinstance(error, json.JSONDecodeError) else f"no JSON: {error}"
