"""CONTRACT §8: the commands of `chatapi`, as scripts rely on them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from chatapi.cli.main import cli
from tests.support.faults import FaultyUpstream, reply_to
from tests.support.gateway import Gateway, MakeGateway
from tests.support.postgres import FreshDatabase
from tests.support.postgres import sqlite_url as url_of_file
from tests.support.processes import PROJECT_ROOT, clean_environment
from tests.support.routes import API, LIMIT_REACHED, NO_SUCH_TOKEN, refused_envelope
from tests.support.terminal import Terminal
from tests.support.users import CHEAP_HASH, PASSWORD

COMMANDS = [
    ("serve",), ("db", "upgrade"), ("users", "import"), ("users", "add"), ("users", "list"), ("users", "disable"),
    ("users", "set-password"), ("limits", "set"), ("limits", "show"), ("usage",), ("sweep",), ("audit",), ("chat",),
]  # fmt: skip
USAGE_KEYS = {
    "tenant", "user", "model", "day", "requests", "prompt_tokens", "completion_tokens", "total_tokens",
    "cost_nanodollars",
}  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_of_the_contract_is_there_and_documented(command: tuple[str, ...]) -> None:
    done = CliRunner().invoke(cli, [*command, "--help"], prog_name="chatapi")
    assert done.exit_code == 0
    assert done.stdout.startswith(f"Usage: chatapi {' '.join(command)}")


def test_upgrading_an_upgraded_database_changes_nothing(gateway: Gateway) -> None:
    token = gateway.somebody
    gateway.cli("db", "upgrade")
    assert API.ask(gateway, "hello", token).status_code == 200


def test_usage_is_a_list_of_rows_per_user_model_and_day(gateway: Gateway) -> None:
    user = gateway.users.take("many")
    for _ in range(3):
        assert API.ask(gateway, "hello", gateway.token(user)).status_code == 200
    assert API.ask(gateway, "fault:status-500", gateway.token(user)).status_code == 500
    rows = json.loads(gateway.cli("usage", "--json"))
    assert isinstance(rows, list)
    (row,) = [row for row in rows if row["tenant"] == user.tenant]
    assert row.keys() == USAGE_KEYS
    assert row["user"] == user.name
    assert row["requests"] == 3
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", row["day"])
    assert row["total_tokens"] == row["prompt_tokens"] + row["completion_tokens"] > 0
    assert all(isinstance(row[name], int) for name in ("requests", "prompt_tokens", "completion_tokens"))
    assert row["cost_nanodollars"] is None or isinstance(row["cost_nanodollars"], int)


def test_usage_of_an_unused_installation_is_an_empty_list(
    fresh_database: FreshDatabase, make_gateway: MakeGateway
) -> None:
    assert json.loads(make_gateway(fresh_database("sqlite"), start=False).cli("usage", "--json")) == []


def test_usage_without_json_is_for_people(gateway: Gateway) -> None:
    assert API.ask(gateway, "hello", gateway.somebody).status_code == 200
    assert "tenant" in gateway.cli("usage").lower()


def test_the_audit_ends_well_on_a_living_installation(gateway: Gateway) -> None:
    assert API.ask(gateway, "hello", gateway.somebody).status_code == 200
    gateway.cli("audit")


def test_sweep_and_audit_end_well_where_nothing_runs(database_url: str, make_gateway: MakeGateway) -> None:
    # Nobody sweeps before the database has answered for one lease.
    installation = make_gateway(
        database_url, environment={"CHATAPI_LEASE_S": "1", "CHATAPI_RENEW_S": "0.5"}, start=False
    )
    installation.cli("sweep")
    installation.cli("audit")


def test_users_that_were_added_are_listed_and_can_log_in(gateway: Gateway, marker: str) -> None:
    gateway.cli("users", "add", marker, "--password-stdin", stdin=f"{PASSWORD}\n")
    assert marker in gateway.cli("users", "list")
    assert gateway.exchange(marker).status_code == 201


def test_a_username_is_unique_in_the_installation(gateway: Gateway, marker: str) -> None:
    gateway.cli("users", "add", marker, "--password-stdin", stdin=f"{PASSWORD}\n")
    for more in ((), ("--tenant", f"{marker}-tenant")):
        again = gateway.run("users", "add", marker, *more, "--password-stdin", stdin="another\n")
        assert again.returncode != 0
        assert "Traceback" not in again.stderr
    assert gateway.exchange(marker).status_code == 201


@pytest.mark.parametrize("command", [("disable",), ("set-password", "--password-stdin")], ids=" ".join)
def test_a_command_about_an_unknown_user_fails_and_says_so(gateway: Gateway, command: tuple[str, ...]) -> None:
    done = gateway.run("users", *command, "nobody-of-this-name", stdin="secret\n")
    assert done.returncode != 0
    assert "nobody-of-this-name" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_disabling_a_user_shows_in_the_list_and_ends_its_access_token_at_once(gateway: Gateway) -> None:
    user = gateway.users.take()
    token = gateway.token(user)
    assert API.ask(gateway, "hello", token).status_code == 200
    gateway.cli("users", "disable", user.name)
    refused = API.ask(gateway, "hello", token)
    assert refused.status_code == 401
    assert refused_envelope(refused) == NO_SUCH_TOKEN
    (line,) = [line for line in gateway.cli("users", "list").splitlines() if user.name in line.split()]
    assert "disabled" in line.lower()


@pytest.mark.usefixtures("far_from_midnight")
def test_a_limit_that_was_set_is_shown_and_holds_from_the_next_question(gateway: Gateway) -> None:
    user = gateway.users.take()
    token = gateway.token(user)
    gateway.cli("limits", "set", "--user", user.name, "2")
    assert re.search(r"\b2\b", gateway.cli("limits", "show", "--user", user.name))
    answers = [API.ask(gateway, "hello", token) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert refused_envelope(answers[-1]) == LIMIT_REACHED
    gateway.cli("limits", "set", "--user", user.name, "3")
    assert [API.ask(gateway, "hello", token).status_code for _ in range(2)] == [200, 429]


@pytest.mark.usefixtures("far_from_midnight")
def test_a_limit_of_a_tenant_binds_its_users_together(gateway: Gateway, users_csv: Path, marker: str) -> None:
    rows = "".join(f'{marker}-{number},"{CHEAP_HASH}",{marker}\n' for number in range(2))
    users_csv.write_text("username,password_hash,tenant\n" + rows)
    gateway.cli("users", "import", str(users_csv))
    gateway.cli("limits", "set", "--tenant", marker, "3")
    tokens = [gateway.exchange(f"{marker}-{number}").json()["message"]["token"] for number in range(2)]
    statuses = [API.ask(gateway, "hello", token).status_code for token in tokens * 2]
    assert statuses == [200, 200, 200, 429]


def test_the_seeding_script_does_what_the_import_does(gateway: Gateway, users_csv: Path, marker: str) -> None:
    def seed() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(PROJECT_ROOT / "scripts" / "seed_users.py"), str(users_csv)],
            env=clean_environment(gateway.environment), cwd=gateway.folder, capture_output=True, text=True,
            timeout=60, check=False,
        )  # fmt: skip

    users_csv.write_text(f"username,password\n{marker},secret\n")
    assert seed().returncode == 0
    assert gateway.exchange(marker, "secret").status_code == 201
    users_csv.write_text(f"username,password\n{marker}-2,secret\n{marker}-3,\n")
    bad = seed()
    assert bad.returncode != 0
    assert re.search(r"line 3\b", bad.stdout + bad.stderr, re.IGNORECASE)
    assert gateway.exchange(f"{marker}-2", "secret", address=gateway.address()).status_code == 401


def test_a_command_on_a_database_that_was_not_migrated_says_what_to_do(
    make_gateway: MakeGateway, tmp_path: Path
) -> None:
    done = make_gateway(url_of_file(tmp_path / "empty.sqlite3"), start=False).run("users", "list")
    assert done.returncode != 0
    assert "chatapi db upgrade" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_chat_answers_a_question_from_a_pipe(gateway: Gateway, marker: str) -> None:
    user = gateway.users.take("many")
    said = gateway.cli(
        "chat", "--url", gateway.base_url, "--username", user.name,
        environment={"CHATAPI_PASSWORD": PASSWORD}, stdin=marker,
    )  # fmt: skip
    assert said.strip() == reply_to(marker)


def test_chat_in_a_terminal_has_many_turns(gateway: Gateway, faults: FaultyUpstream, marker: str) -> None:
    user = gateway.users.take("many")
    arguments = ("chat", "--url", gateway.base_url, "--username", user.name)
    with Terminal(gateway, *arguments, environment={"CHATAPI_PASSWORD": PASSWORD}) as terminal:
        for turn in ("one", "two"):
            terminal.type(f"{marker}-{turn}\n")
            terminal.await_text(f"You said: {marker}-{turn}")
            terminal.await_prompt()
        terminal.type("\x04")  # Ctrl-D
        assert terminal.exit_code() == 0
    first, second = faults.about(marker)
    assert [message["content"] for message in second.body["messages"][-3:]] == [
        f"{marker}-one", reply_to(f"{marker}-one"), f"{marker}-two",
    ]  # fmt: skip
    assert len(second.body["messages"]) == len(first.body["messages"]) + 2
