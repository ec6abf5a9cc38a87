"""The line of every key, held against tomllib's idea of what keys there are, in any spelling that TOML allows."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from chatapi.settings.toml_lines import KeyPath, lines_of

NAMES = st.one_of(
    st.sampled_from(["a", "b", "models", "1", "a-b_c", "gpt-4o.mini", "", "#x", "[y]", 'q"q', "é=", "'", "\\", "a\tb"]),
    st.text(st.characters(blacklist_categories=["Cs", "Cc"]), max_size=4),
)
SCALARS = [
    "1",
    "-1.5e3",
    "true",
    "inf",
    "0x1F",
    "2026-01-31",
    "1979-05-27 07:32:00Z",
    '""',
    "''",
    '"a # ] } , \\" \\\\"',
    "'[ # {'",
    '"""\nx = 1\n[[not]] # "" \\"""\n a"""',
    '"""ends in two quotes"""""',
    "'''\n[no]\n''it''s'''''",
]
GAPS = ["", " ", "\t", "\n", "\r\n", " # ] a comment, with = \"''' \n  ", "\n\n"]


class Writer:
    """Writes a random document, and notes where each of its keys begins."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw, self.text = draw, ""
        self.lines: dict[KeyPath, int] = {}

    def note(self, path: KeyPath) -> None:
        self.lines.setdefault(path, 1 + self.text.count("\n"))

    def names(self, least: int = 0, most: int = 3) -> list[str]:
        return self.draw(st.lists(NAMES, min_size=least, max_size=most, unique=True))

    def key(self, name: str) -> None:
        styles = ['"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"']
        if "'" not in name:
            styles.append(f"'{name}'")
        if re.fullmatch(r"[A-Za-z0-9_-]+", name):
            styles.append(name)
        self.text += self.draw(st.sampled_from(styles))

    def pair(self, table: KeyPath, name: str, depth: int) -> None:
        dotted = [name, *self.names(most=1)] if self.draw(st.booleans()) else [name]
        for length in range(1, len(dotted) + 1):
            self.note((*table, *dotted[:length]))
        for position, part in enumerate(dotted):
            self.text += self.draw(st.sampled_from([".", " . ", "\t."])) if position else ""
            self.key(part)
        self.text += self.draw(st.sampled_from(["=", " = ", "\t=  "]))
        self.value((*table, *dotted), depth)

    def value(self, path: KeyPath, depth: int) -> None:
        kind = self.draw(st.sampled_from(["scalar", "array", "table"] if depth else ["scalar"]))
        if kind == "array":
            self.text += "["
            count = self.draw(st.integers(0, 3))
            for index in range(count):
                self.gap()
                self.note((*path, index))
                self.value((*path, index), depth - 1)
                self.gap()
                self.text += "," if index < count - 1 or self.draw(st.booleans()) else ""
            self.gap()
            self.text += "]"
        elif kind == "table":
            self.text += "{ "
            for position, name in enumerate(self.names()):
                self.text += " , " if position else ""
                self.pair(path, name, depth - 1)
            self.text += "}"
        else:
            self.text += self.draw(st.sampled_from(SCALARS))

    def gap(self) -> None:
        self.text += self.draw(st.sampled_from(GAPS))

    def pairs(self, table: KeyPath, names: list[str]) -> None:
        for name in names:
            self.gap()
            self.pair(table, name, 2)
            self.text += self.draw(st.sampled_from(["\n", " # and = [so] on\n", "\r\n"]))

    def header(self, path: KeyPath) -> None:
        """[table], or [[array]] where the path ends in an index."""
        self.gap()
        self.text += "\n"
        is_array = isinstance(path[-1], int)
        if is_array:
            self.note(path[:-1])
        self.note(path)
        self.text += "[[ " if is_array else "["
        for position, part in enumerate(part for part in path if isinstance(part, str)):
            self.text += " . " if position else ""
            self.key(part)
        self.text += "]]" if is_array else " ]"
        self.text += self.draw(st.sampled_from(["\n", " # [x]\n"]))


@st.composite
def documents(draw: st.DrawFn) -> tuple[str, dict[KeyPath, int]]:
    writer = Writer(draw)
    plain, section, outer, inner = writer.names(4, 4)
    writer.pairs((), [plain])
    writer.header((section,))
    writer.pairs((section,), writer.names())
    for index in range(draw(st.integers(1, 3))):
        writer.header((outer, index))
        writer.pairs((outer, index), [name for name in writer.names() if name not in (inner, section)])
        if draw(st.booleans()):
            for position in range(draw(st.integers(1, 2))):
                writer.header((outer, index, inner, position))
                writer.pairs((outer, index, inner, position), writer.names())
        if draw(st.booleans()):
            writer.header((outer, index, section))
            writer.pairs((outer, index, section), writer.names())
    return writer.text, writer.lines


def paths(value: object, path: KeyPath = ()) -> Iterator[KeyPath]:
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in items:
        yield from paths(each, (*path, key))


@given(documents())
def test_every_key_of_any_document_has_its_line(document: tuple[str, dict[KeyPath, int]]) -> None:
    text, expected = document
    found = lines_of(text)
    assert set(found) == set(paths(tomllib.loads(text)))
    assert found == expected


def test_an_example_by_hand() -> None:
    text = """# a comment
a.b = 1
list = [
  "x", # one
  { c = '''
''', d = [ ] },
]
[[up]]
name = "y"
[up.names]
"gpt-4o.mini" = "z"
[[up]]"""
    assert lines_of(text) == {
        ("a",): 2,
        ("a", "b"): 2,
        ("list",): 3,
        ("list", 0): 4,
        ("list", 1): 5,
        ("list", 1, "c"): 5,
        ("list", 1, "d"): 6,
        ("up",): 8,
        ("up", 0): 8,
        ("up", 0, "name"): 9,
        ("up", 0, "names"): 10,
        ("up", 0, "names", "gpt-4o.mini"): 11,
        ("up", 1): 12,
    }
