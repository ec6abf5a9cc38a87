"""Reports and statements, as operators and admins of tenants read them, by HTTP and by command."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.chaos.reconcile import await_none_held
from tests.support.agreement import disagreements
from tests.support.faults import PROMPT_TOKENS, pieces_of, reply_to
from tests.support.gateway import Gateway
from tests.support.limits import ask
from tests.support.me import claims_of
from tests.support.users import PASSWORD, User

PRICED = "gpt-4o-mini"  # by the price list
FORMULA = '=cmd|"/c calc"!A1'
FIGURES = ("requests", "prompt_tokens", "completion_tokens", "total_tokens", "unpriced_calls")


@dataclass(frozen=True)
class Office:
    """A tenant with an admin, a user and an operator of the installation, after a few calls."""

    gateway: Gateway
    tenant: str
    tenant_id: str
    operator: str
    admin: str
    user: User
    token: str

    def get(self, path: str, token: str | None = None, **query: str) -> httpx2.Response:
        return self.gateway.http.get(path, params=query, access_token=token or self.admin)

    @property
    def usage(self) -> str:
        return f"/admin/tenants/{self.tenant_id}/reports/usage"

    def report(self, **query: str) -> dict[str, Any]:
        answer = self.get(self.usage, **query)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found


def add(gateway: Gateway, name: str, tenant: str, role: str) -> str:
    gateway.cli(
        "users", "add", name, "--tenant", tenant, "--role", role, "--password-stdin", stdin=f"{PASSWORD}\n"
    )  # fmt: skip
    return gateway.token(User(name, tenant))


@pytest.fixture(scope="module")
def offices() -> dict[str, Office]:
    return {}


@pytest.fixture
def office(gateway: Gateway, offices: dict[str, Office], far_from_midnight: None) -> Iterator[Office]:
    """One of each gateway for the module: 2 calls of one model by the user, and one of a second by the admin."""
    if gateway.database_url not in offices:
        user = gateway.users.take("many")
        token = gateway.token(user)
        admin = add(gateway, f"admin-{user.name}", user.tenant, "admin")
        operator = add(gateway, f"operator-{user.name}", user.tenant, "operator")
        for model in (PRICED, PRICED, FORMULA):
            assert ask(gateway, token if model == PRICED else admin, model=model).status_code == 200
        assert ask(gateway, token, "fault:status-400").status_code == 400
        tenant_id = claims_of(token).tenant_id
        offices[gateway.database_url] = Office(gateway, user.tenant, tenant_id, operator, admin, user, token)
    yield offices[gateway.database_url]


def test_an_admin_reads_the_usage_of_its_tenant_grouped_as_it_likes(office: Office) -> None:
    found = office.report()
    assert (found["object"], found["timezone"], found["group_by"], found["by"]) == (
        "list", "UTC", "tenant,user,model", "day",
    )  # fmt: skip
    each = PROMPT_TOKENS + len(pieces_of(reply_to("hello")))
    rows = {(row["user"], row["model"]): row for row in found["data"]}
    assert {place: (row["requests"], row["total_tokens"]) for place, row in rows.items()} == {
        (office.user.name, PRICED): (2, 2 * each),
        (f"admin-{office.user.name}", FORMULA): (1, each),
    }
    assert rows[office.user.name, PRICED]["cost_nanodollars"] > 0
    unpriced = rows[f"admin-{office.user.name}", FORMULA]
    assert (unpriced["cost_nanodollars"], unpriced["unpriced_calls"]) == (None, 1)
    assert found["total"]["requests"] == 3 and found["total"]["cost_nanodollars"] is None
    assert found["total"]["known_cost_nanodollars"] == rows[office.user.name, PRICED]["cost_nanodollars"]
    for query, count in (
        ({"group_by": "none", "by": "all"}, 1), ({"group_by": "model", "by": "month"}, 2),
        ({"group_by": "user,access_token"}, 2), ({"group_by": "none", "by": "all", "model": PRICED}, 1),
        ({"user_id": claims_of(office.token).user_id}, 1), ({"access_token_id": claims_of(office.admin).jti}, 1),
        ({"from": "2099-01-01"}, 0), ({"to": "2000-01-01"}, 0),
    ):  # fmt: skip
        assert len(office.report(**query)["data"]) == count, query
    [whole] = office.report(group_by="none", by="all")["data"]
    assert {name: whole[name] for name in FIGURES} == {name: found["total"][name] for name in FIGURES}
    [of_token] = office.report(group_by="access_token", access_token_id=claims_of(office.token).jti)["data"]
    assert of_token["access_token_id"] == claims_of(office.token).jti and of_token["requests"] == 2


def test_csv_is_for_spreadsheets_and_runs_nothing_in_them(office: Office) -> None:
    answer = office.get(office.usage, format="csv")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8; header=present"
    assert "attachment" in answer.headers["content-disposition"]
    assert answer.text.count("\r\n") == 3 == answer.text.count("\n")
    rows = list(csv.DictReader(io.StringIO(answer.text, newline=""), strict=True))
    assert {row["model"] for row in rows} == {PRICED, f"'{FORMULA}"}
    by_model = {row["model"]: row for row in rows}
    assert by_model[PRICED]["requests"] == "2" and by_model[f"'{FORMULA}"]["cost_nanodollars"] == ""
    by_command = office.gateway.cli("usage", "--tenant", office.tenant, "--group-by", "tenant,user,model", "--csv")
    assert by_command.replace("\r\n", "\n") == answer.text.replace("\r\n", "\n")


def test_operators_read_of_all_tenants_and_nobody_else_of_more_than_its_own(office: Office) -> None:
    everywhere = office.get("/admin/reports/usage", office.operator, group_by="tenant", by="all")
    assert everywhere.status_code == 200
    rows = {row["tenant"]: row for row in everywhere.json()["data"]}
    assert rows[office.tenant]["requests"] == 3
    assert office.get("/admin/reports/usage").status_code == 403
    assert office.get(office.usage, office.token).status_code == 403
    stranger = office.gateway.users.take("many")
    office.gateway.token(stranger)
    their_admin = add(office.gateway, f"admin-{stranger.name}", stranger.tenant, "admin")
    nobody = "00000000-0000-7000-8000-000000000000"
    month = f"{datetime.now(UTC):%Y-%m}"
    for path in ("reports/usage", f"statements/{month}"):
        there = office.get(f"/admin/tenants/{office.tenant_id}/{path}", their_admin)
        never = office.get(f"/admin/tenants/{nobody}/{path}", their_admin)
        assert (there.status_code, there.json()["detail"]) == (never.status_code, never.json()["detail"])
        assert there.status_code == 404
        assert office.get(f"/admin/tenants/{nobody}/{path}", office.operator).status_code == 404
    assert office.report(user_id=claims_of(office.gateway.token(stranger)).user_id)["data"] == []


def test_what_is_asked_wrongly_is_refused_by_name(office: Office) -> None:
    for query in (
        {"group_by": "day"}, {"by": "year"}, {"from": "2026-02-30"}, {"to": "20260101"}, {"user_id": "x"},
        {"format": "xml"}, {"tenant": "x"}, {"model": ""}, {"from": "2026-02-01", "to": "2026-01-01"},
    ):  # fmt: skip
        answer = office.get(office.usage, **query)
        assert answer.status_code == 400, query
        assert [error["field"] for error in answer.json()["errors"]] == [next(iter(query))], answer.text
    for month in ("2026-13", "2026-1", "0001-01", "x"):
        assert office.get(f"/admin/tenants/{office.tenant_id}/statements/{month}").status_code == 404


def test_a_statement_says_who_used_what_and_that_its_figures_agree(office: Office) -> None:
    month = f"{datetime.now(UTC):%Y-%m}"
    path = f"/admin/tenants/{office.tenant_id}/statements/{month}"
    found = office.get(path).json()
    assert (found["object"], found["tenant"], found["month"], found["timezone"]) == (
        "statement", office.tenant, month, "UTC",
    )  # fmt: skip
    assert (found["is_over"], found["is_complete"], found["agrees"]) == (False, False, True)
    assert [check["holds"] for check in found["checks"]] == [True] * 3
    total = office.report(group_by="none", by="all")["total"]
    assert {name: found["total"][name] for name in total} == total
    assert len(found["lines"]) == len(found["by_model"]) == 2
    priced = next(line for line in found["lines"] if line["model"] == PRICED)
    assert priced["user"] == office.user.name
    assert Decimal(priced["cost_dollars"]) * 10**9 == priced["cost_nanodollars"] > 0
    assert (found["total"]["cost_dollars"], found["total"]["unpriced_calls"]) == (None, 1)
    calls = found["calls"]
    assert (calls["as_reported"]["calls"], calls["released"], calls["in_flight"]["calls"]) == (3, 1, 0)
    assert calls["all_kept"] and calls["attempts_at_risk"] == 0
    assert json.loads(office.gateway.cli("statement", office.tenant, month, "--json"))["total"] == found["total"]
    rows = list(csv.DictReader(io.StringIO(office.get(path, format="csv").text, newline="")))
    assert [row["kind"] for row in rows] == ["line", "line", "model", "model", "total"]
    assert sum(int(row["total_tokens"]) for row in rows if row["kind"] == "line") == int(rows[-1]["total_tokens"])
    text = office.gateway.cli("statement", office.tenant, month)
    assert "not complete" in text and "The month is not over" in text and "1 calls unpriced" in text
    earlier = office.gateway.cli("statement", office.tenant, "2020-02")
    assert re.search(r"^from 2020-02-01T00:00:00Z to 2020-03-01T00:00:00Z", earlier, re.MULTILINE)
    assert "2020-02 (UTC): complete" in earlier


def test_a_statement_tells_of_a_changed_time_zone(office: Office) -> None:
    month = f"{datetime.now(UTC):%Y-%m}"
    office.gateway.cli("tenants", "set-timezone", office.tenant, "Asia/Tokyo")
    try:
        found = json.loads(office.gateway.cli("statement", office.tenant, month, "--json"))
        text = office.gateway.cli("statement", office.tenant, month)
    finally:
        office.gateway.cli("tenants", "set-timezone", office.tenant, "UTC")
    assert (found["timezone"], found["next_timezone"]) == ("UTC", "Asia/Tokyo")
    assert found["ends_at"] <= found["next_timezone_from"] and found["timezone_changes"][0]["to"] == "Asia/Tokyo"
    assert "changed the time zone to Asia/Tokyo on" in text and "and Asia/Tokyo from then on." in text


def test_commands_for_what_is_not_there_say_so(office: Office) -> None:
    gone = office.gateway.run("statement", "no-such-tenant", "2026-11")
    assert (gone.returncode, gone.stdout) == (1, "") and "There is no tenant " in gone.stderr
    for option, name in (("--tenant", "no-such-tenant"), ("--user", "no-such-user")):
        gone = office.gateway.run("usage", option, name)
        assert (gone.returncode, gone.stdout) == (1, "") and "There is no " in gone.stderr
    assert office.gateway.run("statement", office.tenant, "2026-1").returncode == 2
    assert office.gateway.run("usage", "--group-by", "day").returncode == 2
    assert office.gateway.run("usage", "--csv", "--json").returncode == 2
    table = office.gateway.cli("usage", "--tenant", office.tenant, "--group-by", "model,access_token", "--by", "month")
    assert table.splitlines()[0].split()[:2] == ["access", "token"] and "unknown" in table


def export_of(office: Office, *, more_tokens: int = 0) -> str:
    """What OpenAI would say of the office's calls, had it answered them, by the names that it dates."""
    day = datetime.fromisoformat(office.report()["data"][0]["day"]).replace(tzinfo=UTC)
    results = [
        {
            "object": "organization.usage.completions.result",
            "model": f"{row['model']}-2024-07-18" if row["model"] == PRICED else row["model"],
            "num_model_requests": row["requests"],
            "input_tokens": row["prompt_tokens"],
            "input_cached_tokens": row["cached_tokens"],
            "output_tokens": row["completion_tokens"] + (more_tokens if row["model"] == PRICED else 0),
        }
        for row in office.report(group_by="model")["data"]
    ]
    begin = int(day.timestamp())
    bucket = {"object": "bucket", "start_time": begin, "end_time": begin + 86_400, "results": results}
    return json.dumps({"object": "page", "data": [bucket], "has_more": False})


def test_the_ledger_is_reconciled_with_the_providers_own_export(office: Office, tmp_path: Path) -> None:
    path = tmp_path / "export.json"
    path.write_text(export_of(office))
    command = ("reconcile", str(path), "--tenant", office.tenant)
    same = office.gateway.cli(*command)
    assert "Nothing differs." in same
    assert f"Compared together as {PRICED}: {PRICED}-2024-07-18 there, {PRICED} here." in same
    found = json.loads(office.gateway.cli(*command, "--json"))
    assert (found["agrees"], found["provider"], len(found["rows"])) == (True, "openai", 2)
    path.write_text(export_of(office, more_tokens=5))
    other = office.gateway.run(*command)
    assert other.returncode == 1 and "1 of them differ" in other.stdout
    [line] = [line for line in other.stdout.splitlines() if "completion tokens" in line]
    assert PRICED in line and line.split()[-1] == "-5"
    assert office.gateway.run(*command, "--tolerance", "50").returncode == 0
    assert office.gateway.run("reconcile", "-", "--tenant", office.tenant, stdin=export_of(office)).returncode == 0


def test_an_export_that_cannot_be_read_is_refused_with_every_line(office: Office, tmp_path: Path) -> None:
    path = tmp_path / "export.csv"
    path.write_text("start_time,end_time,model,num_model_requests\n1761523200,1761526800,tiny,-1\nx,y,tiny,1\n")
    refused = office.gateway.run("reconcile", str(path))
    assert (refused.returncode, refused.stdout) == (1, "")
    assert f"{path}, line 2: num_model_requests is no count: '-1'" in refused.stderr
    assert f"{path}, line 3: start_time is no number: 'x'" in refused.stderr
    assert office.gateway.run("reconcile", str(tmp_path / "absent")).returncode == 2
    path.write_text(export_of(office))
    for options in (("--tenant", "nobody"), ("--without", "nobody")):
        gone = office.gateway.run("reconcile", str(path), *options)
        assert gone.returncode == 1 and "There is no tenant 'nobody'." in gone.stderr
    for wrong in (("--tolerance", "x"), ("--tolerance", "101"), ("--model", "x")):
        assert office.gateway.run("reconcile", str(path), *wrong).returncode == 2


def test_all_that_the_gateway_says_of_usage_agrees(office: Office) -> None:
    await_none_held(office.gateway.database_url)
    assert disagreements(office.gateway.database_url, audited=False) == []
    office.gateway.cli("audit")
