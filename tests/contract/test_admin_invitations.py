"""Invitations: a link, shown once, by which a user sets a password; it works once and tells nothing."""

from __future__ import annotations

import base64
import hashlib
import re
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest
from sqlalchemy import create_engine, text

from tests.support.gateway import SHARED_SETTINGS, Gateway
from tests.support.http import Http
from tests.support.office import Office
from tests.support.routes import API
from tests.support.users import PASSWORD

MOST_FAILURES = int(SHARED_SETTINGS["CHATAPI_LOGIN_ADDRESS_FAILURES"])


def invite(office: Office, who: str = "guest") -> dict[str, Any]:
    """A new user without a password: what the admin is shown."""
    made: dict[str, Any] = office.do("admin", "POST", "users", 201, username=office.username(who))
    office.ids[who] = made["id"]
    return made


def secret_of(shown: dict[str, Any]) -> str:
    """What only the one who opens the link has."""
    url: str = shown["invitation"]["url"] if "invitation" in shown else shown["url"]
    return urlsplit(url).fragment


def accept(gateway: Gateway, invitation: str, password: str = PASSWORD, address: str | None = None) -> httpx2.Response:
    headers = {"X-Forwarded-For": address or gateway.address()}
    return gateway.http.post("/invitations", json={"invitation": invitation, "password": password}, headers=headers)


def test_an_invited_user_sets_a_password_by_the_link_and_logs_in(office: Office) -> None:
    shown = invite(office)
    link = urlsplit(shown["invitation"]["url"])
    assert (f"{link.scheme}://{link.netloc}", link.path, link.query) == (office.gateway.base_url, "/invitation", "")
    life = datetime.fromisoformat(shown["invitation"]["expires_at"]) - datetime.fromisoformat(shown["created_at"])
    assert abs(life - timedelta(days=7)) < timedelta(seconds=2)
    assert office.get("admin", f"users/{office.ids['guest']}")["invited_until"] == shown["invitation"]["expires_at"]
    assert accept(office.gateway, secret_of(shown)).status_code == 204
    office.enter("guest")
    assert office.get("admin", f"users/{office.ids['guest']}")["invited_until"] is None


def test_until_then_a_login_is_refused_as_any_other_is(office: Office) -> None:
    invite(office)
    address = office.gateway.address()
    answers = [office.gateway.exchange(office.username(who), address=address) for who in ("guest", "nobody")]
    assert [answer.status_code for answer in answers] == [401, 401]
    assert answers[0].content == answers[1].content


def test_whatever_is_wrong_with_an_invitation_the_answer_is_the_same(office: Office) -> None:
    gateway = office.gateway
    used, withdrawn, stopped = (invite(office, who) for who in ("used", "withdrawn", "stopped"))
    assert accept(gateway, secret_of(used)).status_code == 204
    again = office.do("admin", "POST", f"users/{office.ids['withdrawn']}/invitation", 201)
    office.do("admin", "PATCH", f"users/{office.ids['stopped']}", status="disabled")
    raw = base64.urlsafe_b64decode(secret_of(again) + "=" * (-len(secret_of(again)) % 4))
    wrong = base64.urlsafe_b64encode(raw[:-1] + bytes([raw[-1] ^ 1])).decode().rstrip("=")
    elsewhere = base64.urlsafe_b64encode(raw[16:32] + raw[:16] + raw[32:]).decode().rstrip("=")
    bad = [*map(secret_of, (used, withdrawn, stopped)), wrong, elsewhere, "x", "ü", secret_of(again) + "AAAA"]
    answers = [accept(gateway, each) for each in bad]
    assert [answer.status_code for answer in answers] == [404] * len(bad)
    assert len({answer.content for answer in answers}) == 1
    assert answers[0].headers["Content-Type"] == "application/problem+json"
    assert accept(gateway, secret_of(again)).status_code == 204


def test_of_many_who_use_it_at_once_one_sets_the_password(office: Office) -> None:
    secret = secret_of(invite(office))

    def use(number: int) -> int:
        http = Http(office.gateway.base_url)
        answer = http.post("/invitations", json={"invitation": secret, "password": f"password {number}"})
        http.close()
        return answer.status_code

    with ThreadPoolExecutor(4) as pool:
        statuses = list(pool.map(use, range(4)))
    assert sorted(statuses) == [204, 404, 404, 404]
    office.enter("guest", f"password {statuses.index(204)}")


def test_an_invitation_of_a_user_with_a_password_is_one_way_to_reset_it(office: Office) -> None:
    shown = office.do("admin", "POST", f"users/{office.ids['user']}/invitation", 201)
    assert API.ask(office.gateway, "hello", office.tokens["user"]).status_code == 200
    assert accept(office.gateway, secret_of(shown), "another one").status_code == 204
    assert API.ask(office.gateway, "hello", office.tokens["user"]).status_code == 401
    office.enter("user", "another one")


def test_a_password_that_was_set_otherwise_ends_the_invitation(office: Office) -> None:
    shown = invite(office)
    office.do("admin", "POST", f"users/{office.ids['guest']}/password", 204, password=PASSWORD)
    assert accept(office.gateway, secret_of(shown), "a stranger's").status_code == 404
    office.enter("guest")


def test_a_bad_password_is_refused_and_the_invitation_stays(office: Office) -> None:
    shown = invite(office)
    for password in ("", "bell\a", "x" * 4097):
        refused = accept(office.gateway, secret_of(shown), password)
        assert refused.status_code == 400
    assert accept(office.gateway, secret_of(shown)).status_code == 204


def test_an_address_that_tries_too_often_must_wait_and_others_need_not(office: Office) -> None:
    gateway, address = office.gateway, office.gateway.address()
    secret = secret_of(invite(office))
    statuses = [accept(gateway, "x" * 86, address=address).status_code for _ in range(MOST_FAILURES + 1)]
    assert statuses == [404] * MOST_FAILURES + [429]
    waits = accept(gateway, secret, address=address)
    assert (waits.status_code, int(waits.headers["Retry-After"]) > 0) == (429, True)
    assert office.gateway.exchange(office.username("nobody"), address=address).status_code == 401  # logins count apart
    assert accept(gateway, secret).status_code == 204


def test_only_a_digest_of_the_secret_is_kept_and_nothing_of_it_is_told(office: Office) -> None:
    secret = secret_of(invite(office))
    raw = base64.urlsafe_b64decode(secret + "=" * (-len(secret) % 4))
    engine = create_engine(office.gateway.database_url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT digest FROM invitations")).scalars().all()
        told = str(connection.execute(text("SELECT * FROM trail")).all())
    engine.dispose()
    assert hashlib.sha256(raw[32:]).hexdigest() in rows
    assert len(raw[32:]) * 8 >= 256
    assert accept(office.gateway, secret).status_code == 204
    assert not [part for part in (secret, secret[43:], raw[32:].hex(), PASSWORD) if part in told + office.gateway.log()]


def test_the_page_is_one_for_all_and_runs_only_its_own_script(gateway: Gateway) -> None:
    page = gateway.http.get("/invitation")
    assert page.status_code == 200
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy and "unsafe" not in policy
    for tag, kind in (("script", "script-src"), ("style", "style-src")):
        (content,) = re.findall(rf"<{tag}>(.*?)</{tag}>", page.text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{kind} 'sha256-{digest}'" in policy
    assert not re.findall(r"\s(?:src|href|action|on\w+)=", page.text.partition("<script>")[0])
    assert page.headers["Referrer-Policy"] == "no-referrer"
    assert page.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    "body", [{}, {"invitation": "x"}, {"invitation": 1, "password": "x"}, {"role": "admin"}], ids=str
)
def test_what_is_no_acceptance_is_a_problem(gateway: Gateway, body: dict[str, object]) -> None:
    refused = gateway.http.post("/invitations", json=body)
    assert (refused.status_code, refused.headers["Content-Type"]) == (400, "application/problem+json")


def test_commands_print_the_link(office: Office) -> None:
    gateway = office.gateway
    added = gateway.cli("users", "add", office.username("cli"), "--tenant", office.tenant, "--invite")
    assert re.fullmatch(r"/invitation#[\w-]{86}\n", added)
    again = gateway.cli("users", "invite", office.username("cli"), "--url", "https://chat.example/")
    assert again.startswith("https://chat.example/invitation#")
    assert accept(gateway, added.strip().partition("#")[2]).status_code == 404
    assert accept(gateway, again.strip().partition("#")[2]).status_code == 204
    office.enter("cli")
