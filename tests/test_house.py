"""The house keeps its shape: short modules, short functions, pinned requirements.

What the linters can hold is held by `make check`; here is what they cannot.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("chatapi", "scripts", "migrations", "bench", "tests")
MOST_LINES_OF_A_MODULE = 300
MOST_LINES_OF_A_FUNCTION = 40
REQUIREMENTS = ("requirements.txt", "requirements-dev.txt")


def modules(*folders: str) -> Iterator[Path]:
    """Our Python files. Migrations, once made, are history: nobody cuts them shorter."""
    for folder in folders:
        yield from (path for path in (ROOT / folder).rglob("*.py") if "versions" not in path.parts)


def excused(path: Path) -> bool:
    """Whether a decision record names the module and so says why it is long."""
    name = path.relative_to(ROOT).as_posix()
    return any(name in record.read_text("utf-8") for record in (ROOT / "docs" / "adr").glob("*.md"))


def long_functions(path: Path) -> Iterator[str]:
    """The functions of a module that are too long, each with its line and length."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None:
            lines = node.end_lineno - node.lineno + 1
            if lines > MOST_LINES_OF_A_FUNCTION:
                yield f"{path.relative_to(ROOT)}:{node.lineno} {node.name} has {lines} lines"


def test_no_module_is_longer_than_300_lines_unless_a_decision_record_says_why() -> None:
    lengths = {path: len(path.read_text("utf-8").splitlines()) for path in modules(*FOLDERS)}
    assert lengths, "no modules were found"
    assert not [
        f"{path.relative_to(ROOT)} has {lines} lines"
        for path, lines in lengths.items()
        if lines > MOST_LINES_OF_A_MODULE and not excused(path)
    ]


def test_no_function_is_longer_than_40_lines() -> None:
    assert not [line for path in modules("chatapi") for line in long_functions(path)]


def test_a_function_that_is_too_long_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    module = tmp_path / "long.py"
    module.write_text("def short():\n" + "    pass\n" * 39 + "\n\ndef long():\n" + "    pass\n" * 40)
    assert list(long_functions(module)) == ["long.py:43 long has 41 lines"]


@pytest.mark.parametrize("name", REQUIREMENTS)
def test_every_requirement_is_pinned_with_its_hashes_and_names_no_index(name: str) -> None:
    text = re.sub(r"\\\n", " ", (ROOT / name).read_text("utf-8"))
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    assert lines
    pinned = re.compile(r"[a-z0-9-]+==[\w.]+( ; [^\\]+?)?(\s+--hash=sha256:[0-9a-f]{64})+")
    assert not [line[:80] for line in lines if not pinned.fullmatch(line)]
    assert "://" not in text


def test_both_requirement_files_agree_on_every_version() -> None:
    runtime, development = (
        dict(re.findall(r"^([a-z0-9-]+)==(\S+)", (ROOT / name).read_text("utf-8"), re.MULTILINE))
        for name in REQUIREMENTS
    )
    shared = runtime.keys() & development.keys()
    assert {name: development[name] for name in shared} == {name: runtime[name] for name in shared}


@pytest.mark.parametrize("name", ["requirements", "requirements-dev"])
def test_every_requirement_that_was_asked_for_is_pinned(name: str) -> None:
    asked = re.findall(r"^[a-z0-9-]+", (ROOT / f"{name}.in").read_text("utf-8"), re.MULTILINE)
    pinned = set(re.findall(r"^([a-z0-9-]+)==", (ROOT / f"{name}.txt").read_text("utf-8"), re.MULTILINE))
    assert [requirement for requirement in asked if requirement not in pinned and requirement != "-c"] == []
