"""Every mistake in an upstreams file is told with its line, all at once, and no key ever is."""

from __future__ import annotations

import re
import traceback
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatapi.errors import ConfigurationError
from chatapi.settings.upstreams_file import load_upstreams_file
from tests.support.upstreams_files import AZURE_KEY, ENVIRONMENT, EXAMPLE, GOOD, KEY, Load, ProblemsOf, second


# -------------------------------------------------------------------------------------------------- what is wrong in it
@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        # upstreams
        ("", 1, "upstreams: there is none; describe at least one under [[upstreams]]"),
        (
            "[upstreams]\nname = 'x'",
            1,
            "upstreams: must be sections, each under a header in double brackets: [[upstreams]]",
        ),
        (second('name = "b"'), 6, 'upstreams[2].kind: is missing; set it to one of "openai", "azure", "compatible"'),
        (second('name = "b"\nkind = "opnai"'), 8, "upstreams[2].kind: must be one of"),
        (second('name = "b"\nkind = "opnai"'), 8, 'did you mean "openai"?'),
        (second('kind = "compatible"\nbase_url = "http://x/v1"'), 6, "upstreams[2].name: is missing"),
        (second('name = "a b"\nkind = "compatible"\nbase_url = "http://x"'), 7, "name: must be a name of letters"),
        (second('name = "openai"\nkind = "compatible"\nbase_url = "http://x"'), 7, "another upstream has this name"),
        (second('name = "b"\nkind = "compatible"'), 6, "base_url: is missing; set it to the server's address"),
        (second('name = "b"\nkind = "azure"\napi_key_env = "AZURE_OPENAI_API_KEY"'), 6, "NAME.openai.azure.com"),
        (second('name = "b"\nkind = "compatible"\nbase_url = "localhost:80"'), 9, "is no http:// or https:// address"),
        (
            second('name = "b"\nkind = "compatible"\nbase_url = "http://x:port/"'),
            9,
            "is no http:// or https:// address",
        ),
        (second('name = "b"\nkind = "compatible"\nbase_url = "http://x y/"'), 9, "is no http:// or https:// address"),
        (second('name = "b"\nkind = "compatible"\nbase_url = "http://x/?a"'), 9, "must end before any ? or #"),
        (
            second('name = "b"\nkind = "compatible"\nbase_url = "http://u:p@x/"'),
            9,
            "must not hold a user or a password",
        ),
        (GOOD + 'base_ulr = "http://x"', 5, 'upstreams[1].base_ulr: unknown key; did you mean "base_url"?'),
        (
            GOOD + "zzz = 1",
            5,
            "upstreams[1].zzz: unknown key; known are api_key_env, api_key_file, api_version, base_url",
        ),
        (GOOD + "weight = 1.5", 5, "weight: must be a whole number from 0 to 1000, without quotes"),
        (GOOD + "weight = true", 5, "weight: must be a whole number"),
        (GOOD + "weight = -1", 5, "weight: must be a whole number"),
        (GOOD + 'models = "gpt-4o"', 5, "models: must be a list of texts"),
        (GOOD + "models = []", 5, "models: must be a list of texts"),
        (GOOD + 'models = [\n"o3",\n""]', 5, "models: must be a list of texts"),
        (GOOD + 'models = ["o3"]\n[upstreams.names]\no3 = "d"\ngpt-4o = "e"', 8, "names.gpt-4o: `models` does not let"),
        (GOOD + '[upstreams.names]\n"gpt-4o.mini" = 3', 6, 'names."gpt-4o.mini": both sides must be texts'),
        (GOOD + 'api_version = "2024-10-21"', 5, "api_version: is only for upstreams of kind azure; delete it"),
        (GOOD + 'organisation = "a b"', 5, "organisation: must be a word"),
        # keys
        (
            GOOD + f'api_key = "{KEY}"',
            5,
            "api_key: keys do not belong into this file: put the key into the environment",
        ),
        (GOOD.replace("OPENAI_API_KEY", KEY), 4, "api_key_env: must be the name of a variable (no key)"),
        (GOOD.replace("OPENAI_API_KEY", AZURE_KEY), 4, "api_key_env: must be the name of a variable (no key)"),
        (GOOD.replace("OPENAI_API_KEY", "NOT_SET"), 4, "the environment variable NOT_SET is not set, or empty"),
        (GOOD.replace("OPENAI_API_KEY", "EMPTY"), 4, "the environment variable EMPTY is not set, or empty"),
        (GOOD.replace("OPENAI_API_KEY", "CUT"), 4, "has characters that no key has; was it copied whole"),
        (GOOD.replace("_env", "_file"), 4, "api_key_file: that file cannot be read"),
        (GOOD + 'api_key_file = "x"', 5, "api_key_file: there is api_key_env as well; delete one of them"),
        ('[[upstreams]]\nname = "a"\nkind = "openai"', 1, "api_key_env: is missing; set it (or api_key_file)"),
        # aliases
        (GOOD + '[aliases]\n"a" = "a"', 6, "aliases.a: stands for itself; delete it"),
        (GOOD + '[aliases]\na = "b"\nb = "c"', 6, 'aliases.a: "b" is itself an alias; name the model'),
        (GOOD + '[aliases]\na = "b"\nb = "a"', 7, 'aliases.b: "a" is itself an alias; name the model'),
        (GOOD + 'models = ["o3"]\n[aliases]\n"gpt-3.5" = "o4"', 7, 'aliases."gpt-3.5": no upstream serves "o4"'),
        (GOOD + "[aliases]\na = 1", 6, "aliases.a: both sides must be texts"),
        ("aliases = 1\n" + GOOD, 1, "aliases: must be a table"),
        # models
        (GOOD + "[[models]]\nreasons = false", 5, "models[1].name: is missing; set it to the model's name"),
        (
            GOOD + '[[models]]\nname="a"\n[[models]]\nname="a"',
            8,
            "models[2].name: this model is described above already",
        ),
        (GOOD + '[aliases]\na="b"\n[[models]]\nname="a"', 8, 'is an alias; describe the model that it stands for, "b"'),
        (GOOD + 'models=["o3"]\n[[models]]\nname="o4"', 7, "models[1].name: no upstream serves this model"),
        (GOOD + '[[models]]\nname="a"\nreasons="no"', 7, "reasons: must be true or false, without quotes"),
        (GOOD + '[[models]]\nname="a"\ndefault_completion_tokens=0', 7, "must be a whole number from 1 to 100000000"),
        (
            GOOD + '[[models]]\nname="a"\nlargest_completion_tokens=5\ndefault_completion_tokens=9',
            8,
            "default_completion_tokens: must not be more than largest_completion_tokens",
        ),
        # prices
        (
            GOOD + '[[models]]\nname="a"\n[[models.prices]]\nfrom=2026-01-01',
            7,
            "models[1].prices[1].prompt: there is no price",
        ),
        (
            GOOD + '[[models]]\nname="a"\n[[models.prices]]\nprompt="cheap"',
            8,
            "prompt: must be a number from 0 to 1000000",
        ),
        (GOOD + '[[models]]\nname="a"\n[[models.prices]]\nprompt=-1', 8, "prompt: must be a number from 0"),
        (GOOD + '[[models]]\nname="a"\n[[models.prices]]\nprompt=nan', 8, "prompt: must be a number from 0"),
        (GOOD + '[[models]]\nname="a"\n[[models.prices]]\nprompt=true', 8, "prompt: must be a number from 0"),
        (GOOD + '[[models]]\nname="a"\n[[models.prices]]\nprompt=1e99', 8, "prompt: must be a number from 0"),
        (GOOD + '[[models]]\nname="a"\n[[models.prices]]\nprompt=1e-99', 8, "prompt: has more than 12 decimal places"),
        (
            GOOD + '[[models]]\nname="a"\n[[models.prices]]\nfrom="2026-01-01"\nprompt=1',
            8,
            "from: must be a date such as",
        ),
        (
            GOOD + '[[models]]\nname="a"\n[[models.prices]]\nfrom=2026-01-01T00:00:00Z\nprompt=1',
            8,
            "and without a time",
        ),
        (GOOD + '[[models]]\nname="a"\n[[models.prices]]\ncached_prompt=1', 8, "cached_prompt: needs prompt beside it"),
        (
            GOOD + '[[models]]\nname="a"\n[[models.prices]]\npromt=1\ncompletion=1',
            8,
            'unknown key; did you mean "prompt"?',
        ),
        (
            GOOD + '[[models]]\nname="a"\nprices=[{prompt=1},\n{prompt=2}]',
            8,
            "prices[2].from: this model has another price",
        ),
        (GOOD + '[[models]]\nname="a"\n[[models.prices]]\nper_image={"1x1"="x"}', 8, "per_image.1x1: must be a number"),
        (
            GOOD + '[[models]]\nname="a"\n[[models.prices]]\nprompt=1\nlonger=[{prompt=2}]',
            9,
            "longer[1].above: is missing",
        ),
        (
            GOOD
            + '[[models]]\nname="a"\n[[models.prices]]\nprompt=1\nlonger=[{above=5,prompt=2},\n{above=5,prompt=3}]',
            10,
            "longer[2].above: there are other prices for prompts of this length",
        ),
        # retries, breaker, the rest
        (GOOD + "[retries]\nattempts = 0", 6, "retries.attempts: must be a whole number from 1 to 100"),
        (GOOD + "[retries]\nshare = 1.1", 6, "retries.share: must be a number from 0 to 1"),
        (GOOD + "[breaker]\nopen_s = 0", 6, "breaker.open_s: must be a number from 0.001 to 3600"),
        (GOOD + "[braeker]\nopen_s = 1", 5, 'braeker: unknown key; did you mean "breaker"?'),
        ("[[upstream]]\n" + GOOD, 1, 'upstream: unknown key; did you mean "upstreams"?'),
        # no TOML at all
        (GOOD + "weight = \n", 5, "is no TOML here: Invalid value"),
        (GOOD + "models = [", 5, "is no TOML here: "),
        (GOOD + 'name = "twice"', 5, "is no TOML here: Cannot overwrite a value"),
        (GOOD + f"weight = {'9' * 5000}", 1, "numbers too large"),
        (f"a = {'[' * 5000}{']' * 5000}", 1, "brackets too deep"),
        (GOOD + "weight = 1e99999999999999999999", 1, "numbers too large"),
    ],
)
def test_each_mistake_is_told_with_its_line(problems: ProblemsOf, text: str, line: int, said: str) -> None:
    rows = problems(text)
    assert any(row.startswith(f"{line}: ") and said in row for row in rows), rows


def test_every_mistake_is_told_at_once_in_the_order_of_lines(problems: ProblemsOf) -> None:
    text = """[aliases]
"x" = "y"
"y" = "z"
[[upstreams]]
nmae = "openai"
kind = "openai"
api_key_env = "NOT_SET"
weight = "3"
[[upstreams]]
name = "b"
kind = "azure"
api_key = "sk-1"
[[models]]
name = "m"
[[models.prices]]
prompt = "1,5"
[retries]
share = 2
"""
    found = [re.sub(r"^(\d+: [^:]+):.*", r"\1", row) for row in problems(text)]
    assert found == [
        "2: aliases.x",
        "4: upstreams[1].name",
        "5: upstreams[1].nmae",
        "7: upstreams[1].api_key_env",
        "8: upstreams[1].weight",
        "9: upstreams[2].base_url",
        "12: upstreams[2].api_key",
        "16: models[1].prices[1].prompt",
        "18: retries.share",
    ]


def test_an_empty_key_file_is_told(problems: ProblemsOf, tmp_path: Path) -> None:
    (tmp_path / "k").write_text("\n")
    assert (
        "4: upstreams[1].api_key_file: that file is empty"
        in problems(GOOD.replace("_env", "_file").replace("OPENAI_API_KEY", "k"))[0]
    )


def test_a_file_that_is_not_there_or_no_text_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"none\.toml: cannot be read: No such file"):
        load_upstreams_file(tmp_path / "none.toml", {})
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load_upstreams_file(tmp_path, {})
    (tmp_path / "latin.toml").write_bytes(b"# ok\nname = '\xfc'\n")
    with pytest.raises(ConfigurationError, match=r"latin\.toml:2: is not UTF-8 text"):
        load_upstreams_file(tmp_path / "latin.toml", {})


# ------------------------------------------------------------------------------------------------------ no key is shown
def test_no_key_is_ever_shown(load: Load) -> None:
    assert KEY not in repr(load(GOOD))
    mistakes = [
        GOOD + "weight = -1",
        GOOD + f'api_key = "{KEY}"',
        GOOD + f'api_kye = "{KEY}"',
        GOOD.replace("OPENAI_API_KEY", KEY),
        GOOD.replace("_env", "_file").replace("OPENAI_API_KEY", KEY),
        GOOD.replace("OPENAI_API_KEY", "CUT"),
        GOOD + f'base_url = "https://{KEY}@x"',
        GOOD + f"weight = {KEY}",
        f'"{KEY}',
    ]
    for text in mistakes:
        with pytest.raises(ConfigurationError) as caught:
            load(text)
        shown = "".join(traceback.format_exception(caught.value, chain=not caught.value.__suppress_context__))
        assert KEY not in shown
        assert ENVIRONMENT["CUT"] not in shown


@given(st.text(max_size=40), st.integers(0, len(EXAMPLE.read_text("utf-8"))), st.integers(0, 40))
@settings(max_examples=300, deadline=None)
def test_whatever_is_in_it_the_file_is_read_or_refused_with_a_line(
    tmp_path_factory: pytest.TempPathFactory, inserted: str, at: int, cut: int
) -> None:
    text = EXAMPLE.read_text("utf-8")
    file = tmp_path_factory.getbasetemp() / "any.toml"
    file.write_bytes((text[:at] + inserted + text[at + cut :]).encode("utf-8", "surrogatepass"))
    try:
        load_upstreams_file(file, ENVIRONMENT)
    except ConfigurationError as error:
        lines = len(file.read_bytes().split(b"\n"))
        for row in str(error).splitlines():
            found = re.match(re.escape(str(file)) + r":(\d+): ", row)
            assert found, row
            assert 1 <= int(found.group(1)) <= lines
