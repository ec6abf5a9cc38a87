"""Users of a tenant as a file, in and out, over HTTP and by command."""

from __future__ import annotations

import csv
import io
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest

from tests.support.http import Http
from tests.support.office import Office
from tests.support.routes import API
from tests.support.users import CHEAP_HASH, PASSWORD

COLUMNS = ["username", "tenant", "role", "status", "daily_requests", "daily_tokens"]


def send(office: Office, text: str, who: str = "admin", query: str = "", kind: str = "text/csv") -> httpx2.Response:
    return office.ask(who, "POST", f"users/import{query}", content=text.encode(), headers={"Content-Type": kind})


def load(office: Office, text: str, who: str = "admin", query: str = "") -> dict[str, Any]:
    answer = send(office, text, who, query)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def problems(office: Office, text: str, who: str = "admin") -> list[tuple[str, str]]:
    answer = send(office, text, who)
    assert answer.status_code == 400, answer.text
    return [(each["field"], each["problem"]) for each in answer.json()["errors"]]


def exported(office: Office, who: str = "admin") -> list[dict[str, str]]:
    answer = office.ask(who, "GET", "users.csv")
    assert (answer.status_code, answer.headers["Content-Type"].split(";")[0]) == (200, "text/csv")
    return list(csv.DictReader(io.StringIO(answer.text)))


def names(office: Office) -> set[str]:
    return {each["username"].removeprefix(f"{office.name}-") for each in office.get("admin", "users")["data"]}


def test_a_file_makes_and_changes_users_of_the_tenant(office: Office) -> None:
    one, two = office.username("one"), office.username("two")
    text = f'username,password,password_hash,role,daily_requests\n{one},secret,,admin,5\n{two},,"{CHEAP_HASH}",,\n'
    assert load(office, text) == {"created": 2, "changed": 0, "unchanged": 0, "dry_run": False}
    assert load(office, text) == {"created": 0, "changed": 0, "unchanged": 2, "dry_run": False}
    assert office.enter("one", "secret") and office.get("one", "users")["data"]
    text = text.replace("secret", "another").replace(",admin,5", f",user,6\n{office.username('three')},third,,,")
    assert load(office, text) == {"created": 1, "changed": 1, "unchanged": 1, "dry_run": False}
    assert office.ask("one", "GET", "users").status_code == 401


def test_a_dry_run_changes_nothing(office: Office) -> None:
    text = f"username,password\n{office.username('one')},secret\n"
    assert load(office, text, query="?dry_run=true") == {"created": 1, "changed": 0, "unchanged": 0, "dry_run": True}
    assert names(office) == {"admin", "user"}


def test_a_dry_run_tells_nobody_whose_password_is_guessed(office: Office) -> None:
    office.add("colleague", role="admin")
    found = [
        load(office, f"username,password\n{office.username('colleague')},{guess}\n", query="?dry_run=true")
        for guess in (PASSWORD, "a wrong guess")
    ]
    assert found == [{"created": 0, "changed": 1, "unchanged": 0, "dry_run": True}] * 2


def test_an_admin_makes_no_refused_login_dearer(office: Office) -> None:
    """Refused logins take as long as the dearest hash does, whoever they name."""
    dear = CHEAP_HASH.replace("m=8,", "m=65536,")
    assert dear != CHEAP_HASH
    text = f'username,password_hash\n{office.username("one")},"{CHEAP_HASH}"\n{office.username("two")},"{dear}"\n'
    ((line, problem),) = problems(office, text)
    assert (line, "ask an operator" in problem) == ("line 3", True)
    assert load(office, text, "operator", "?dry_run=true")["created"] == 2


def test_every_bad_line_is_named_and_nothing_is_done(office: Office) -> None:
    text = (
        "username,password,tenant,role,daily_requests\n"
        f"{office.username('good')},secret-1,,,\n"
        ",secret-2,,,\n"
        f"{office.username('king')},secret-3,,king,\n"
        f"{office.username('many')},secret-4,,,many\n"
    )
    answer = send(office, text)
    assert [each["field"] for each in answer.json()["errors"]] == ["line 3", "line 4", "line 5"]
    assert "secret" not in answer.text
    assert names(office) == {"admin", "user"}


def test_a_file_reaches_no_other_tenant_and_no_higher_role(office: Office) -> None:
    office.add("chief", by="operator", role="operator")
    rows = [
        (office.username("new"), f"{office.name}-hq", "user"),
        (office.username("operator"), "", "user"),
        (office.username("new-chief"), "", "operator"),
        (office.username("chief"), "", "user"),
        (office.username("admin"), "", "admin"),
    ]
    text = "username,password,tenant,role\n" + "".join(
        f"{name},secret,{tenant},{role}\n" for name, tenant, role in rows
    )
    assert problems(office, text) == [
        ("line 2", f"tenant must be '{office.tenant}', or left out"),
        ("line 3", f"username '{office.username('operator')}' belongs to another tenant"),
        ("line 4", "the role operator is above yours"),
        ("line 5", "the role operator is above yours"),
        ("line 6", "this is you, and nobody changes themselves by a file"),
    ]
    assert names(office) == {"admin", "user", "chief"}
    assert load(office, f"username,password,role\n{office.username('chief')},secret,user\n", "operator")["changed"] == 1


def test_what_is_no_file_of_users_is_refused(office: Office) -> None:
    assert send(office, "username,password\n", kind="application/json").status_code == 415
    assert send(office, "").status_code == 400
    assert send(office, "x" * (2 * 1024 * 1024 + 1)).status_code == 413
    many = "username,password\n" + "".join(f"{office.username('n')}{number},secret\n" for number in range(501))
    refused = send(office, many)
    assert (refused.status_code, "At most 500 passwords" in refused.json()["detail"]) == (400, True)
    assert "At most 2000 lines" in send(office, "username,password\n" + "\n" * 2000).json()["detail"]
    assert send(office, "username,password\n", who="user").status_code == 403


def test_the_paths_of_files_are_no_users_and_options_tells_all_methods_of_a_path(office: Office) -> None:
    for method in ("GET", "PATCH"):
        refused = office.ask("admin", method, "users/import")
        assert (refused.status_code, refused.headers["Allow"]) == (405, "OPTIONS, POST")
    told = {path: office.ask(None, "OPTIONS", path).headers["Allow"] for path in ("users", "users/import", "users/x")}
    assert told == {"users": "GET, OPTIONS, POST", "users/import": "OPTIONS, POST", "users/x": "GET, OPTIONS, PATCH"}


def test_an_export_has_all_users_and_nobodys_password_and_imports_as_no_change(office: Office) -> None:
    load(office, f"username,password,daily_requests,daily_tokens\n{office.username('one')},secret,unlimited,70\n")
    office.do("admin", "PATCH", f"users/{office.ids['user']}", status="disabled")
    text = office.ask("admin", "GET", "users.csv").text
    assert "argon2" not in text
    rows = exported(office)
    assert list(rows[0]) == COLUMNS
    assert {row["username"].removeprefix(f"{office.name}-"): tuple(row.values())[2:] for row in rows} == {
        "admin": ("admin", "active", "1000", ""),
        "user": ("user", "disabled", "1000", ""),
        "one": ("user", "active", "unlimited", "70"),
    }
    assert load(office, text) == {"created": 0, "changed": 0, "unchanged": 3, "dry_run": False}


def test_an_export_that_was_edited_changes_roles_limits_and_who_is_served(office: Office) -> None:
    office.add("other")
    text = office.ask("admin", "GET", "users.csv").text
    lines = [line.replace(",user,active,1000", ",user,disabled,7") for line in text.splitlines()]
    lines = [line.replace(",user,active,,", ",admin,active,,") for line in lines]
    assert load(office, "\n".join(lines))["changed"] == 2
    assert API.ask(office.gateway, "hello", office.tokens["user"]).status_code == 401
    assert [(row["role"], row["status"], row["daily_requests"]) for row in exported(office)] == [
        ("admin", "active", "1000"), ("user", "disabled", "7"), ("admin", "active", ""),
    ]  # fmt: skip
    unknown = f"username,status\n{office.username('unknown')},active\n{office.username('other')},closed\n"
    assert problems(office, unknown) == [
        ("line 2", f"there is no user '{office.username('unknown')}', and a new one needs a password"),
        ("line 3", "users are closed one by one, and not by a file"),
    ]


def test_cells_that_a_spreadsheet_would_run_are_escaped(office: Office) -> None:
    for start in "=+-@":
        body = {"username": f"{start}cmd|'/c calc'!{office.name}", "password": "secret"}
        office.do("admin", "POST", "users", 201, **body)
    found = [row["username"] for row in exported(office)[-4:]]
    assert [name[:2] for name in found] == ["'=", "'+", "'-", "'@"]


def test_an_export_of_many_users_is_whole(office: Office) -> None:
    rows = "".join(f'{office.username(f"n{number}")},"{CHEAP_HASH}"\n' for number in range(1100))
    assert load(office, f"username,password_hash\n{rows}")["created"] == 1100
    found = [row["username"] for row in exported(office)]
    assert len(found) == len(set(found)) == 1102


def test_the_command_writes_the_same_file(office: Office) -> None:
    said = office.gateway.cli("users", "export", "--tenant", office.tenant)
    assert list(csv.DictReader(io.StringIO(said))) == exported(office)
    assert office.username("operator") not in said
    everybody = list(csv.DictReader(io.StringIO(office.gateway.cli("users", "export"))))
    assert {office.username("operator"), office.username("user")} <= {row["username"] for row in everybody}


@pytest.mark.parametrize("gateway", ["sqlite"], indirect=True)
def test_who_logs_in_while_passwords_are_imported_need_not_wait_for_all_of_them(office: Office) -> None:
    office.add("late")
    text = "username,password\n" + "".join(f"{office.username(f'p{number}')},secret\n" for number in range(60))
    http, done_at = Http(office.gateway.base_url), list[float]()

    def import_them() -> None:
        answer = http.post(
            f"{office.path}/users/import",
            content=text.encode(),
            headers={"Content-Type": "text/csv"},
            access_token=office.tokens["admin"],
        )
        done_at.append(time.monotonic())
        assert answer.json()["created"] == 60
        http.close()

    with ThreadPoolExecutor(1) as pool:
        importing = pool.submit(import_them)
        time.sleep(0.2)
        office.enter("late")
        entered_at = time.monotonic()
        importing.result()
    assert entered_at < done_at[0]
