"""`chatapi users`, `limits` and `tenants` as an administrator types them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.gateway import Gateway
from tests.support.processes import PROJECT_ROOT, clean_environment

HEADER = "username,password,tenant,daily_requests\n"


@pytest.fixture
def installation(sqlite_url: str, make_gateway: Callable[..., Gateway]) -> Gateway:
    """An installation that is not being served."""
    return make_gateway(sqlite_url, start=False)


def users(installation: Gateway) -> list[tuple[str, str, str, str]]:
    rows = json.loads(installation.cli("users", "list", "--json"))
    return [(row["tenant"], row["username"], row["role"], row["status"]) for row in rows]


def test_a_file_is_imported_once_and_again_is_no_change(installation: Gateway, users_csv: Path) -> None:
    users_csv.write_text(HEADER + "demo,secret,acme,5\nother,secret,,\n", "utf-8")
    said = installation.cli("users", "import", str(users_csv), "--dry-run")
    assert said == "Dry run, nothing was changed: 2 created, 0 changed, 0 unchanged.\nTenants created: acme, default\n"
    assert users(installation) == []
    assert installation.cli("users", "import", str(users_csv)).startswith("2 created, 0 changed, 0 unchanged.\n")
    assert users(installation) == [("acme", "demo", "user", "active"), ("default", "other", "user", "active")]
    text = users_csv.read_text("utf-8")
    assert installation.cli("users", "import", "-", stdin=text) == "0 created, 0 changed, 2 unchanged.\n"


def test_every_bad_line_is_said_on_standard_error_and_nothing_is_imported(
    installation: Gateway, users_csv: Path
) -> None:
    users_csv.write_text(HEADER + "good,secret,,\n,secret,,\nbad,secret,,many\n", "utf-8")
    done = installation.run("users", "import", str(users_csv))
    assert (done.returncode, done.stdout) == (1, "")
    assert "line 3: username is missing\nline 4: daily_requests must be" in done.stderr
    assert "Traceback" not in done.stderr
    assert "secret" not in done.stderr
    assert users(installation) == []


def test_seed_users_does_what_users_import_does(installation: Gateway, users_csv: Path) -> None:
    users_csv.write_text(HEADER + "demo,secret,acme,5\n", "utf-8")
    command = [sys.executable, str(PROJECT_ROOT / "scripts" / "seed_users.py"), str(users_csv)]
    done = subprocess.run(
        command, env=clean_environment(installation.environment), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "1 created, 0 changed, 0 unchanged.\nTenants created: acme\n"), (
        done.stderr
    )
    assert users(installation) == [("acme", "demo", "user", "active")]


def test_the_example_users_can_be_imported(installation: Gateway) -> None:
    installation.cli("users", "import", str(PROJECT_ROOT / "envs" / "users.example.csv"))
    assert [user[1] for user in users(installation)] == ["demo", "demo-admin", "demo2"]


def test_users_are_added_disabled_enabled_and_given_passwords(installation: Gateway) -> None:
    add = ("users", "add", "demo", "--tenant", "acme", "--role", "admin", "--password-stdin")
    installation.cli(*add, stdin="secret\n")
    assert users(installation) == [("acme", "demo", "admin", "active")]
    again = installation.run(*add, stdin="secret\n")
    assert (again.returncode, again.stderr) == (1, "Error: There is a user 'demo' already.\n")
    installation.cli("users", "set-password", "demo", "--password-stdin", stdin="new secret\n")
    installation.cli("users", "disable", "demo")
    assert users(installation) == [("acme", "demo", "admin", "disabled")]
    installation.cli("users", "enable", "demo")
    assert "acme    demo      admin  active" in installation.cli("users", "list", "--tenant", "acme")
    assert installation.run("users", "disable", "nobody").returncode == 1
    assert installation.run("users", "disable").returncode == 2


def test_limits_are_set_and_shown(installation: Gateway) -> None:
    installation.cli("users", "add", "demo", "--tenant", "acme", "--password-stdin", stdin="secret\n")
    installation.cli("limits", "set", "7", "--each-user-of", "acme")
    installation.cli("limits", "set", "unlimited", "--user", "demo", "--metric", "tokens")
    installation.cli("limits", "set", "0", "--tenant", "acme", "--metric", "tokens", "--window", "month")
    installation.cli("limits", "set", "2", "--tenant", "acme", "--window", "at-once", "--model", "tiny")
    shown = json.loads(installation.cli("limits", "show", "--user", "demo", "--json"))
    names = ("scope", "metric", "window", "model", "value", "source", "granted", "used", "held", "left")
    assert [tuple(limit[name] for name in names) for limit in shown] == [
        ("user", "requests", "day", "", 7, "each_user", 0, 0, 0, 7),
        ("user", "tokens", "day", "", None, "own", 0, 0, 0, None),
        ("tenant", "requests", "at_once", "tiny", 2, "own", 0, 0, 0, 2),
        ("tenant", "tokens", "month", "", 0, "own", 0, 0, 0, 0),
    ]
    assert [limit["resets_at"] is None for limit in shown] == [False, False, True, False]
    assert "unlimited  own" in installation.cli("limits", "show", "--user", "demo")
    installation.cli("limits", "set", "inherit", "--each-user-of", "acme")
    shown = json.loads(installation.cli("limits", "show", "--tenant", "acme", "--json"))
    assert [limit["source"] for limit in shown] == ["default", "own", "own"]
    assert len(json.loads(installation.cli("limits", "show", "--json"))) == 1
    assert " tiny " in installation.cli("limits", "show", "--tenant", "acme")
    installation.cli("limits", "set", "inherit", "--tenant", "acme", "--window", "at-once", "--model", "tiny")
    assert len(json.loads(installation.cli("limits", "show", "--tenant", "acme", "--json"))) == 2
    assert installation.run("limits", "set", "5").returncode == 1
    assert installation.run("limits", "set", "-5", "--user", "demo").returncode == 2
    assert installation.run("limits", "set", "some", "--user", "demo").returncode == 2


def test_tenants_are_added_disabled_and_moved_to_another_time_zone(installation: Gateway) -> None:
    installation.cli("tenants", "add", "acme", "--timezone", "Asia/Tokyo")
    installation.cli("tenants", "disable", "acme")
    installation.cli("tenants", "set-timezone", "acme", "Europe/Berlin")
    (acme,) = json.loads(installation.cli("tenants", "list", "--json"))
    assert [acme] == [
        {
            "id": acme["id"],
            "tenant": "acme",
            "status": "disabled",
            "timezone": "Europe/Berlin",
            "next_timezone": None,
            "next_timezone_from": None,
            "near_limit": "clamp",
        }
    ]
    installation.cli("tenants", "enable", "acme")
    assert installation.run("tenants", "set-timezone", "acme", "Mars/Olympus").returncode == 1


@pytest.mark.parametrize("group", ["users", "limits", "tenants"])
def test_the_help_says_the_exit_codes(installation: Gateway, group: str) -> None:
    assert "Exit codes:" in installation.cli(group, "--help")
