"""Webhooks and alerts over HTTP, sent to a real receiver on loopback."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from chatapi.settings import PROJECT_ROOT
from tests.chaos.machines import await_that
from tests.support.gateway import ONE_WORKER, Gateway, MakeGateway
from tests.support.limits import ask
from tests.support.me import claims_of
from tests.support.receiver import Delivery, Receiver, receiving
from tests.support.users import PASSWORD, User

DOCUMENT = PROJECT_ROOT / "docs" / "administration" / "alerts.md"
SETTINGS = {
    **ONE_WORKER,
    "CHATAPI_WEBHOOK_PRIVATE_ADDRESSES": "true",
    "CHATAPI_WEBHOOK_RETRY_S": "0.5",
    "CHATAPI_RENEW_S": "0.5",
}

pytestmark = pytest.mark.usefixtures("far_from_midnight")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as made:
        yield made


@pytest.fixture(scope="module")
def gateway(lasting_database_url: str, make_lasting_gateway: MakeGateway) -> Gateway:
    """One that may post to loopback, tries again soon, and looks at limits often."""
    made = make_lasting_gateway(lasting_database_url, environment=SETTINGS, start=False)
    made.start_with_users()
    made.cli("users", "add", "oz", "--role", "operator", "--password-stdin", stdin=f"{PASSWORD}\n")
    return made


class Admin:
    """Asks about the webhooks of one user's tenant, as an operator."""

    def __init__(self, gateway: Gateway, user: User) -> None:
        self.gateway, self.user = gateway, user
        self.tenant_id = claims_of(gateway.token(user)).tenant_id
        self.path = f"/admin/tenants/{self.tenant_id}"
        self._token = gateway.token(User("oz", "default"))

    def __call__(self, method: str, path: str, status: int = 200, **more: Any) -> Any:
        answer = self.gateway.http.request(method, self.path + path, access_token=self._token, **more)
        assert answer.status_code == status, answer.text
        return answer.json() if answer.content else None

    def add(self, url: str, **more: Any) -> dict[str, Any]:
        made: dict[str, Any] = self("POST", "/webhooks", 201, json={"url": url, **more})
        return made

    def alerts(self, **query: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self("GET", "/alerts", params=query)["data"]
        return found

    def use(self, times: int) -> None:
        assert [ask(self.gateway, self.gateway.token(self.user)).status_code for _ in range(times)] == [200] * times


@pytest.fixture
def admin(gateway: Gateway) -> Admin:
    return Admin(gateway, gateway.users.take("many"))


def verified(secret: str, delivery: Delivery) -> bytes:
    """What the verifying program of the document says of a delivery."""
    (program,) = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text("utf-8"), re.DOTALL)
    scope: dict[str, Any] = {}
    exec(program, scope)
    body: bytes = scope["verify"](secret, delivery.headers, delivery.body)
    return body


def test_shares_of_a_limit_are_told_once_each_and_signed(admin: Admin, receiver: Receiver) -> None:
    made = admin.add(f"{receiver.url}/told")
    admin.gateway.cli("limits", "set", "5", "--user", admin.user.name)
    admin.use(3)
    admin.use(2)
    first, second = sorted(receiver.await_at("/told", 2), key=lambda each: each.data["share"])
    admin.gateway.cli("limits", "set", "6", "--user", admin.user.name)  # 80 % of it had been used: nothing new
    admin.use(1)
    (third,) = [each for each in receiver.await_at("/told", 3) if each not in (first, second)]
    assert [first.key, second.key] == [("user", "requests", "day", share) for share in (80, 100)]
    assert (first.data["limit"], first.data["user"], first.data["tenant"]) == (5, admin.user.name, admin.user.tenant)
    assert first.data["used"] in (4, 5)
    assert (third.data["share"], third.data["limit"], third.data["used"]) == (100, 6, 6)
    for each in (first, second, third):
        assert verified(made["secret"], each) == each.body
        assert each.event["type"] == "limit.share_reached"
        assert each.headers["webhook-id"] == each.event["id"]
        with pytest.raises(ValueError, match="signature"):
            verified(made["secret"], Delivery(each.path, each.headers, each.body + b" ", each.at))
    await_that(lambda: {each["state"] for each in admin.alerts()} == {"delivered"}, "all are delivered")
    assert [each["tries"] for each in admin.alerts()] == [1, 1, 1]
    assert len(receiver.at("/told")) == 3


def test_limits_of_all_scopes_are_told(admin: Admin, receiver: Receiver) -> None:
    admin.gateway.cli("limits", "set", "2", "--tenant", admin.user.tenant, "--window", "month")
    admin.gateway.cli("limits", "set", "2", "--each-user-of", admin.user.tenant, "--model", "tiny")
    admin.use(1)
    admin.add(f"{receiver.url}/scopes", shares=[50])  # reached before there was anybody to be told
    told = {each.key: each.data for each in receiver.await_at("/scopes", 2)}
    assert told.keys() == {("tenant", "requests", "month", 50), ("user", "requests", "day", 50)}
    assert told["tenant", "requests", "month", 50]["user"] is None
    assert told["user", "requests", "day", 50]["model"] == "tiny"


def test_what_is_not_taken_is_sent_again_with_the_same_id_and_body(admin: Admin, receiver: Receiver) -> None:
    receiver.answer("/again", 500, 302, 200)
    made = admin.add(f"{receiver.url}/again")
    queued = admin("POST", f"/webhooks/{made['id']}/test", 202)
    tries = receiver.await_at("/again", 3)
    assert {each.headers["webhook-id"] for each in tries} == {queued["id"]}
    assert len({each.body for each in tries}) == 1
    assert tries[1].at - tries[0].at >= 0.4
    assert tries[2].at - tries[1].at >= 0.8
    await_that(lambda: admin.alerts()[0]["state"] == "delivered", "it is delivered")
    assert receiver.at("/redirected") == []


def test_410_switches_a_webhook_off(admin: Admin, receiver: Receiver) -> None:
    receiver.answer("/gone", 410)
    made = admin.add(f"{receiver.url}/gone")
    admin("POST", f"/webhooks/{made['id']}/test", 202)
    await_that(lambda: admin("GET", f"/webhooks/{made['id']}")["status"] == "disabled", "it is switched off")
    (alert,) = admin.alerts(state="given_up")
    assert "410" in alert["problem"]
    admin("POST", f"/webhooks/{made['id']}/test", 409)
    assert admin("PATCH", f"/webhooks/{made['id']}", json={"status": "active"})["status"] == "active"


def test_a_new_secret_signs_beside_the_old_one(admin: Admin, receiver: Receiver) -> None:
    made = admin.add(f"{receiver.url}/rotated")
    assert "secret" not in admin("GET", f"/webhooks/{made['id']}")
    secret = admin("POST", f"/webhooks/{made['id']}/secret", 201)["secret"]
    assert secret != made["secret"]
    admin("POST", f"/webhooks/{made['id']}/test", 202)
    (sent,) = receiver.await_at("/rotated", 1)
    assert verified(secret, sent) == verified(made["secret"], sent) == sent.body
    with pytest.raises(ValueError, match="signature"):
        verified(admin.add(f"{receiver.url}/other")["secret"], sent)


def test_a_webhook_that_was_removed_is_gone_and_its_alerts_stay(admin: Admin, receiver: Receiver) -> None:
    receiver.answer("/removed", 500)
    made = admin.add(f"{receiver.url}/removed")
    admin("POST", f"/webhooks/{made['id']}/test", 202)
    receiver.await_at("/removed", 1)
    admin("DELETE", f"/webhooks/{made['id']}", 204)
    for method, path in (("GET", ""), ("PATCH", ""), ("DELETE", ""), ("POST", "/test"), ("POST", "/secret")):
        more: dict[str, Any] = {"json": {}} if method == "PATCH" else {}
        admin(method, f"/webhooks/{made['id']}{path}", 404, **more)
    assert admin("GET", "/webhooks")["data"] == []
    (alert,) = admin.alerts(webhook_id=made["id"])
    assert (alert["state"], alert["next_try_at"]) == ("given_up", None)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"url": "ftp://alerts.example/"},
        {"url": "https://"},
        {"url": "https://a:b@alerts.example/"},
        {"url": "https://alerts.example/#x"},
        {"url": "https://alerts.example:0/"},
        {"url": "https://alerts.example/ä"},
        {"url": "https://alerts.example/", "shares": []},
        {"url": "https://alerts.example/", "shares": [0]},
        {"url": "https://alerts.example/", "shares": [101]},
        {"url": "https://alerts.example/", "shares": ["80"]},
        {"url": "https://alerts.example/", "status": "active"},
    ],
    ids=str,
)
def test_what_cannot_be_a_webhook_is_refused(admin: Admin, body: dict[str, Any]) -> None:
    problem = admin("POST", "/webhooks", 400, json=body)
    assert problem["status"] == 400
    assert admin("GET", "/webhooks")["data"] == []


def test_a_tenant_has_ten_webhooks_at_most_and_they_are_listed_by_pages(admin: Admin) -> None:
    made = [admin.add(f"https://alerts.example/{number}")["id"] for number in range(10)]
    admin("POST", "/webhooks", 400, json={"url": "https://alerts.example/11"})
    found, after = list[str](), None
    while True:
        page = admin("GET", "/webhooks", params={"limit": "4", **({"after": after} if after else {})})
        found += [each["id"] for each in page["data"]]
        after = page["after"]
        if after is None:
            break
    assert found == made
    admin("GET", "/webhooks", 400, params={"after": "eA"})


def test_admins_see_their_own_tenants_webhooks_only(gateway: Gateway, admin: Admin) -> None:
    made = admin.add("https://alerts.example/")
    name = f"admin-of-{gateway.users.take('many').tenant}"
    gateway.cli("users", "add", name, "--tenant", name, "--role", "admin", "--password-stdin", stdin=f"{PASSWORD}\n")
    token = gateway.token(User(name, name))

    def asked(tenant_id: str, path: str) -> httpx2.Response:
        return gateway.http.get(f"/admin/tenants/{tenant_id}{path}", access_token=token)

    assert asked(claims_of(token).tenant_id, "/webhooks").json()["data"] == []
    assert asked(claims_of(token).tenant_id, f"/webhooks/{made['id']}").status_code == 404
    assert asked(admin.tenant_id, f"/webhooks/{made['id']}").status_code == 404
    assert asked(admin.tenant_id, "/alerts").status_code == 404
    plain = gateway.http.get(f"{admin.path}/alerts", access_token=gateway.token(admin.user))
    assert plain.status_code == 403


def test_the_same_by_commands(gateway: Gateway, admin: Admin, receiver: Receiver) -> None:
    of_tenant = ("--tenant", admin.user.tenant)
    webhook_id, secret = gateway.cli("webhooks", "add", f"{receiver.url}/cli", *of_tenant, "--share", "50").split()
    assert gateway.cli("webhooks", "test", webhook_id, *of_tenant) == "delivered\n"
    (sent,) = receiver.await_at("/cli", 1)
    assert verified(secret, sent) == sent.body
    (listed,) = json.loads(gateway.cli("webhooks", "list", *of_tenant, "--json"))
    assert (listed["id"], listed["shares"], listed["status"]) == (webhook_id, [50], "active")
    gateway.cli("webhooks", "change", webhook_id, *of_tenant, "--share", "90", "--url", f"{receiver.url}/cli-2")
    assert gateway.cli("webhooks", "rotate-secret", webhook_id, *of_tenant).strip() != secret
    receiver.answer("/cli-2", 503)
    failed = gateway.run("webhooks", "test", webhook_id, *of_tenant)
    assert (failed.returncode, failed.stdout) == (1, "pending: status 503\n")
    (new, old) = json.loads(gateway.cli("alerts", *of_tenant, "--json"))
    assert (old["state"], new["state"], new["event"]["type"]) == ("delivered", "pending", "webhook.test")
    assert "webhook.test" in gateway.cli("alerts", *of_tenant)
    gateway.cli("webhooks", "change", webhook_id, *of_tenant, "--off")
    gateway.cli("webhooks", "remove", webhook_id, *of_tenant)
    assert json.loads(gateway.cli("webhooks", "list", *of_tenant, "--json")) == []
    assert gateway.run("webhooks", "remove", webhook_id, *of_tenant).returncode == 1
    assert gateway.run("webhooks", "list", "--tenant", "no-such-tenant").returncode == 1


def test_a_private_address_is_not_asked_unless_that_is_allowed(
    gateway: Gateway, admin: Admin, receiver: Receiver
) -> None:
    """The webhook is made where it is allowed, and then sent from where it is not."""
    of_tenant = ("--tenant", admin.user.tenant)
    webhook_id, _ = gateway.cli("webhooks", "add", f"{receiver.url}/private", *of_tenant).split()
    strict = {"CHATAPI_WEBHOOK_PRIVATE_ADDRESSES": "false"}
    refused = gateway.run("webhooks", "add", "https://127.0.0.1/", *of_tenant, environment=strict)
    assert refused.returncode == 1
    assert "private address" in refused.stderr
    gateway.cli("webhooks", "change", webhook_id, *of_tenant, "--url", "https://localhost:1/private")
    sent = gateway.run("webhooks", "test", webhook_id, *of_tenant, environment=strict)
    assert sent.returncode == 1
    assert sent.stdout.startswith("pending: it has no public address")


def test_the_document_of_alerts_has_one_program(tmp_path: Path) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text("utf-8"), re.DOTALL)
    assert "import chatapi" not in program
