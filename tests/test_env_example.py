"""`envs/.env.example` names every setting, with its default or an example that would be accepted."""

from __future__ import annotations

import re

from pydantic import AliasChoices

from chatapi.settings import PROJECT_ROOT, Settings

EXAMPLE = PROJECT_ROOT / "envs" / ".env.example"
PLACEHOLDER = "..."


def names() -> dict[str, str]:
    """Each setting's first environment variable, and its field."""
    found = {}
    for field, info in Settings.model_fields.items():
        assert isinstance(info.validation_alias, AliasChoices)
        found[str(info.validation_alias.choices[0])] = field
    return found


def examples() -> dict[str, str]:
    return dict(re.findall(r"^#?([A-Z][A-Z0-9_]*)=(.*)$", EXAMPLE.read_text("utf-8"), re.MULTILINE))


def test_every_setting_is_in_the_example_and_nothing_else_is() -> None:
    assert examples().keys() == names().keys()


def test_the_examples_defaults_are_the_defaults() -> None:
    given = {names()[name]: value for name, value in examples().items() if PLACEHOLDER not in value}
    read = Settings(**given)  # type: ignore[arg-type]
    for field in given:
        default = Settings.model_fields[field].default
        if default not in (None, "") and field != "var_dir":
            assert getattr(read, field) == default, field
