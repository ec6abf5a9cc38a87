"""What users rely on is written down: every setting, every command."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from chatapi.cli.main import cli
from chatapi.settings import PROJECT_ROOT, Settings

CONFIGURATION = PROJECT_ROOT / "docs" / "configuration.md"
EXAMPLE = PROJECT_ROOT / "envs" / ".env.example"


def names_of_settings() -> list[str]:
    return [str(field.validation_alias.choices[0]) for field in Settings.model_fields.values()]  # type: ignore[union-attr]


@pytest.mark.parametrize("document", [CONFIGURATION, EXAMPLE], ids=lambda path: path.name)
@pytest.mark.parametrize("name", names_of_settings())
def test_every_setting_is_documented(name: str, document: Path) -> None:
    assert name in document.read_text("utf-8")


def test_the_documented_defaults_are_the_real_ones() -> None:
    text = CONFIGURATION.read_text("utf-8")
    for field in Settings.model_fields.values():
        name = field.validation_alias.choices[0]  # type: ignore[union-attr]
        row = next(line for line in text.splitlines() if line.startswith(f"| `{name}`"))
        if isinstance(field.default, int | float | str) and field.default != "":
            assert (
                f"`{field.default:g}`" in row or f"`{field.default}`" in row
                if isinstance(field.default, float)
                else f"`{field.default}`" in row
            ), row


def commands(group: click.Group, path: str = "chatapi") -> list[tuple[str, click.Command]]:
    found: list[tuple[str, click.Command]] = []
    context = click.Context(group)
    for name in group.list_commands(context):
        where, command = f"{path} {name}", group.get_command(context, name)
        assert command is not None
        found += commands(command, where) if isinstance(command, click.Group) else [(where, command)]
    return found


@pytest.mark.parametrize(("name", "command"), commands(cli), ids=lambda value: value if isinstance(value, str) else "")
def test_every_command_says_what_it_does_and_stands_in_the_documentation(name: str, command: click.Command) -> None:
    assert command.help
    assert all(option.help for option in command.params if isinstance(option, click.Option))
    documents = [PROJECT_ROOT / "README.md", *sorted((PROJECT_ROOT / "docs").rglob("*.md"))]
    assert any(name in document.read_text("utf-8") for document in documents)


DOCUMENTS = [*PROJECT_ROOT.glob("*.md"), *sorted((PROJECT_ROOT / "docs").rglob("*.md"))]


def headings_of(document: Path) -> set[str]:
    """The anchors of a document, as they are made of its headings."""
    text = re.sub(r"```.*?```", "", document.read_text("utf-8"), flags=re.DOTALL)
    headings = (
        re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading) for heading in re.findall(r"^#+ (.*)", text, re.MULTILINE)
    )
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(PROJECT_ROOT)))
def test_every_link_leads_somewhere(document: Path) -> None:
    text = re.sub(r"```.*?```", "", document.read_text("utf-8"), flags=re.DOTALL)
    for link in re.findall(r"\]\((?!https?:)([^)\s]+)\)", text):
        path, _, anchor = link.partition("#")
        target = document.parent / path if path else document
        assert target.exists(), link
        assert not anchor or anchor in headings_of(target), link
