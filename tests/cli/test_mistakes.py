"""What is set or typed wrongly is one clear sentence and exit status 1, never a traceback."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.gateway import Gateway
from tests.support.postgres import DATABASES, FreshDatabase


@pytest.fixture
def installation(sqlite_url: str, make_gateway: Callable[..., Gateway]) -> Gateway:
    """An installation that is not being served."""
    return make_gateway(sqlite_url, start=False)


def refused(installation: Gateway, *arguments: str, **environment: str) -> str:
    """What a command says that is refused."""
    done = installation.run(*arguments, environment=environment)
    assert (done.returncode, done.stdout) == (1, ""), done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CHATAPI_JWT_DAYS", "99999999"),
        ("CHATAPI_LOGIN_WINDOW_S", "99999999999"),
        ("CHATAPI_CALL_DEADLINE_S", "inf"),
        ("CHATAPI_WAIT_S", "nan"),
        ("CHATAPI_LEASE_S", "1e300"),
    ],
)
def test_numbers_that_no_calendar_and_no_clock_can_bear_are_refused(
    installation: Gateway, name: str, value: str
) -> None:
    assert name in refused(installation, "users", "list", **{name: value})


@pytest.mark.parametrize(
    "url",
    [
        "garbage",
        "mysql://demo:hidden@localhost/chatapi",
        "sqlite+other:///x",
        "postgresql://demo:hidden@localhost:xx/chatapi",
        "postgresql+psycopg2://demo:hidden@localhost/chatapi",
        "postgresql://demo:hidden@localhost/chatapi?no_such_option=1",
    ],
)
def test_a_database_url_that_makes_no_sense_is_said_without_its_password(installation: Gateway, url: str) -> None:
    said = refused(installation, "users", "list", CHATAPI_DATABASE_URL=url)
    assert said.startswith("Error: CHATAPI_DATABASE_URL")
    assert len(said.splitlines()) == 1
    assert "hidden" not in said


def test_a_place_where_nothing_can_be_kept_is_named(installation: Gateway, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("not a database, but longer than the first bytes of one")
    for folder in (str(file / "x"), "/proc/nope"):
        for arguments in (("users", "list"), ("db", "upgrade")):
            said = refused(installation, *arguments, CHATAPI_VAR_DIR=folder, CHATAPI_DATABASE_URL="")
            assert f"{folder}/chatapi.sqlite3 cannot be used" in said
            assert "CHATAPI_VAR_DIR" in said
        said = refused(installation, "db", "rotate-secret", "--yes", CHATAPI_VAR_DIR=folder, CHATAPI_JWT_SECRET_KEY="")
        assert f"{folder}/jwt_secret_key" in said
    assert "is no SQLite database" in refused(installation, "users", "list", CHATAPI_DATABASE_URL=f"sqlite:///{file}")
    assert "cannot be used" in refused(installation, "users", "list", CHATAPI_DATABASE_URL=f"sqlite:///{tmp_path}")


@pytest.mark.parametrize("content", [b"\xff\xfe" * 40, "é".encode() * 40, b"short"])
def test_a_kept_secret_that_is_none_is_named(installation: Gateway, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "jwt_secret_key").write_bytes(content)
    settings = {"CHATAPI_VAR_DIR": str(tmp_path), "CHATAPI_JWT_SECRET_KEY": ""}
    assert "jwt_secret_key holds" in refused(installation, "db", "rotate-secret", "--yes", **settings)


def test_a_settings_file_that_cannot_be_read_is_named(installation: Gateway, tmp_path: Path) -> None:
    file = tmp_path / "settings"
    file.write_bytes(b"CHATAPI_MODEL=\xff\n")
    assert f"{file} is not UTF-8 text" in refused(installation, "users", "list", CHATAPI_ENV_FILE=str(file))
    assert f"{tmp_path} is a folder" in refused(installation, "users", "list", CHATAPI_ENV_FILE=str(tmp_path))
    assert "there is no file" in refused(installation, "users", "list", CHATAPI_ENV_FILE=str(tmp_path / "none"))


@pytest.mark.parametrize("kind", DATABASES)
def test_names_that_are_no_text_are_nobodys(
    make_gateway: Callable[..., Gateway], fresh_database: FreshDatabase, kind: str
) -> None:
    installation = make_gateway(fresh_database(kind), start=False)
    odd = os.fsdecode(b"a\xffb")
    assert refused(installation, "users", "disable", odd) == "Error: There is no user 'a\\udcffb'.\n"
    assert refused(installation, "users", "list", "--tenant", odd) == "Error: There is no tenant 'a\\udcffb'.\n"
    refused(installation, "tenants", "disable", odd)
    refused(installation, "tenants", "add", odd)
    refused(installation, "limits", "set", "5", "--user", odd)
    refused(installation, "usage", "--tenant", odd)


@pytest.mark.parametrize(
    "arguments",
    [("users", "list"), ("limits", "show"), ("usage",), ("audit",), ("sweep", "--no-wait"), ("tenants", "list")],
    ids=" ".join,
)
def test_a_command_on_an_empty_database_says_what_to_run(
    installation: Gateway, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    url = f"sqlite:///{tmp_path / 'empty.sqlite3'}"
    said = refused(installation, *arguments, CHATAPI_DATABASE_URL=url)
    assert said == "Error: The database is empty. Run: chatapi db upgrade\n"


def test_a_limit_that_is_no_number_is_told_what_it_may_be(installation: Gateway) -> None:
    done = installation.run("limits", "set", "five", "--user", "somebody")
    assert done.returncode == 2
    assert "a whole number from 0 to 10^15, or 'unlimited', or 'inherit'\n" in done.stderr


def test_prices_without_an_upstream_say_that_there_is_none(
    sqlite_url: str, make_gateway: Callable[..., Gateway]
) -> None:
    done = make_gateway(sqlite_url, upstream_url=None, start=False).run("models", "price", "gpt-4o-mini")
    assert (done.returncode, done.stderr) == (0, "No upstream that is configured here serves gpt-4o-mini.\n")


def test_the_lines_of_a_table_end_where_their_text_ends(installation: Gateway) -> None:
    installation.cli("tenants", "add", "acme")
    lines = installation.cli("tenants", "list").splitlines()
    assert lines[1].startswith("acme")
    assert [line.rstrip() for line in lines] == lines
