"""Tables that are written while they are read."""

from __future__ import annotations

import json
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from chatapi.cli import output, tables


def written(write: click.Command) -> str:
    done = CliRunner().invoke(write)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_a_table_has_numbers_to_the_right_and_nothing_that_a_terminal_would_act_on() -> None:
    @click.command()
    def write() -> None:
        rows = [
            {"model": "tiny", "tokens": 1234567, "cost": None},
            {"model": "\x1b[31mred\n", "tokens": 5, "cost": "$1.00"},
        ]
        tables.write_table(("model", "tokens", "cost"), rows)

    assert written(write).splitlines() == [
        "model         tokens  cost",
        "tiny       1,234,567",
        "\ufffd[31mred\ufffd          5  $1.00",
    ]


def test_a_short_table_has_nothing_that_a_terminal_would_act_on(capsys: pytest.CaptureFixture[str]) -> None:
    output.show([{"actor": "ada", "reason": "\x1b[2Jnow\n2026 \x9b1m"}], ("actor", "reason"), as_json=False)
    assert capsys.readouterr().out.splitlines() == ["actor  reason", "ada    \ufffd[2Jnow\ufffd2026 \ufffd1m"]


def test_a_table_is_not_read_to_its_end_before_it_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "MEASURED", 2)
    seen: list[str] = []

    def rows() -> Iterator[dict[str, object]]:
        for number in range(4):
            yield {"name": "x" * (number + 1)}
            seen.append(f"row {number}")

    @click.command()
    def write() -> None:
        monkeypatch.setattr(click, "echo", lambda line="", **_: seen.append(str(line)))
        tables.write_table(("name",), rows())

    written(write)
    assert seen == ["row 0", "name", "x", "xx", "row 1", "xxx", "row 2", "xxxx", "row 3"]


def test_json_and_csv_of_nothing_are_whole() -> None:
    @click.command()
    def as_json() -> None:
        tables.write_json([])

    @click.command()
    def as_csv() -> None:
        tables.write_csv(("a", "b"), [])

    assert json.loads(written(as_json)) == []
    assert written(as_csv).replace("\r\n", "\n") == "a,b\n"
