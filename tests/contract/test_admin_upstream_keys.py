"""Tenants' own keys for upstreams, set over HTTP and by command: what calls go out with, as the upstream sees it."""

from __future__ import annotations

import base64
import json
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest
from sqlalchemy import text

from tests.concurrency.world import world_of
from tests.support.faults import FaultyUpstream, Served
from tests.support.gateway import Gateway, MakeGateway
from tests.support.office import Office, open_office

OURS = "sk-" + "the-installation-s-key-0123456789"
AZURE = "0123456789abcdef" * 2
OWN, OTHER = "sk-" + "own-of-the-tenant-abcdefgh", "sk-" + "another-of-the-tenant-ijklmn"
KEYS = [base64.urlsafe_b64encode(os.urandom(32)).decode() for _ in range(3)]
FILE = """
[[upstreams]]
name = "first"
kind = "openai"
base_url = "{root}/first/v1"
api_key_env = "OPENAI_API_KEY"
organisation = "org-of-ours"
project = "proj-of-ours"
models = ["gpt-*"]

[[upstreams]]
name = "spare"
kind = "compatible"
base_url = "{root}/spare/v1"
weight = 0
models = ["gpt-*", "spare"]

[[upstreams]]
name = "west"
kind = "azure"
base_url = "{root}/west"
api_key_env = "AZURE_OPENAI_API_KEY"
models = ["west-*"]

[breaker]
failures = 2
open_s = 3600

[retries]
share = 1.0
reserve = 1000
"""


@pytest.fixture(scope="module")
def gateway(
    lasting_database_url: str,
    make_lasting_gateway: MakeGateway,
    faults: FaultyUpstream,
    tmp_path_factory: pytest.TempPathFactory,
) -> Gateway:
    path = tmp_path_factory.mktemp("upstreams") / "upstreams.toml"
    path.write_text(FILE.format(root=faults.url.removesuffix("/v1")))
    environment = {
        "CHATAPI_UPSTREAMS_FILE": str(path),
        "OPENAI_API_KEY": OURS,
        "AZURE_OPENAI_API_KEY": AZURE,
        "CHATAPI_MODEL": "gpt-own",
        "CHATAPI_ENCRYPTION_KEYS": f"{KEYS[0]}, {KEYS[1]}",
    }
    return make_lasting_gateway(lasting_database_url, upstream_url=None, environment=environment)


def ask(office: Office, marker: str, model: str = "gpt-own", *, stream: bool = False) -> httpx2.Response:
    """A call of the office's user, relayed."""
    body = {"model": model, "messages": [{"role": "user", "content": marker}], "stream": stream}
    return office.gateway.http.post("/v1/chat/completions", json=body, access_token=office.tokens["user"])


def account_of(request: Served) -> tuple[str | None, ...]:
    """Whose account a request was on."""
    return tuple(
        request.headers.get(name) for name in ("authorization", "api-key", "openai-organization", "openai-project")
    )


ON_OURS = (f"Bearer {OURS}", None, "org-of-ours", "proj-of-ours")


def sent(office: Office, faults: FaultyUpstream, marker: str, count: int = 1) -> list[tuple[str | None, ...]]:
    """Ask by every way that there is, `count` times; the accounts of what arrived."""
    for number in range(count):
        assert ask(office, f"{marker} {number} relayed").status_code == 200
        assert ask(office, f"{marker} {number} streamed", stream=True).status_code == 200
        question = {"q": f"{marker} {number} asked"}
        assert office.gateway.http.get("/api", params=question, access_token=office.tokens["user"]).status_code == 200
        chat = {"messages": [{"role": "user", "content": f"{marker} {number} chatted"}]}
        assert office.gateway.http.post("/chat", json=chat, access_token=office.tokens["user"]).status_code == 200
    found = faults.about(marker)
    assert len(found) == 4 * count
    return [account_of(request) for request in found]


def test_calls_of_a_tenant_go_out_with_its_own_key_from_the_next_one_on_and_nobody_else_s(
    gateway: Gateway, office: Office, faults: FaultyUpstream, marker: str
) -> None:
    """In every process, by both ways up, plain and streamed; and with ours again when it has none."""
    neighbour = open_office(gateway)
    assert set(sent(office, faults, f"{marker} before")) == {ON_OURS}
    assert office.do("admin", "PUT", "upstream_keys/first", key=OWN)["upstream"] == "first"
    assert set(sent(office, faults, f"{marker} own", count=3)) == {(f"Bearer {OWN}", None, None, None)}
    assert set(sent(neighbour, faults, f"{marker} neighbour")) == {ON_OURS}
    office.do("operator", "PUT", "upstream_keys/first", key=OTHER)
    assert set(sent(office, faults, f"{marker} other", count=2)) == {(f"Bearer {OTHER}", None, None, None)}
    office.do("admin", "DELETE", "upstream_keys/first", 204)
    assert set(sent(office, faults, f"{marker} after", count=2)) == {ON_OURS}


def test_while_calls_go_on_each_goes_out_with_the_key_that_held_at_its_admission(
    office: Office, faults: FaultyUpstream, marker: str
) -> None:
    """One that began after a change was answered, and ended before the next one was asked for, cannot have another."""
    changes = [("PUT", OWN), ("PUT", OTHER), ("DELETE", OURS), ("PUT", OTHER), ("PUT", OWN), ("DELETE", OURS)]
    spans, calls, ended = list[tuple[float, float, str]](), list[tuple[float, float, str]](), threading.Event()

    def call_on(caller: int) -> None:
        while not ended.is_set():
            began, said = time.monotonic(), f"{marker} {caller} {len(calls)} "
            assert ask(office, said, stream=bool(caller % 2)).status_code == 200
            calls.append((began, time.monotonic(), said))

    with ThreadPoolExecutor(8) as pool:
        callers = [pool.submit(call_on, caller) for caller in range(8)]
        try:
            for method, key in changes:
                body = {"key": key} if method == "PUT" else {}
                office.do("admin", method, "upstream_keys/first", 200 if body else 204, **body)
                held_from = time.monotonic()
                while sum(began >= held_from for began, _, _ in tuple(calls)) < 8:
                    time.sleep(0.01)
                    assert not any(caller.done() for caller in callers)
                spans.append((held_from, time.monotonic(), key))
        finally:
            ended.set()
        for caller in callers:
            caller.result()
    sent_with = {
        request.text: request.headers["authorization"].removeprefix("Bearer ") for request in faults.about(marker)
    }
    judged = [
        (sent_with[said], key)
        for held_from, held_until, key in spans
        for began, done, said in calls
        if held_from <= began and done <= held_until
    ]
    assert len(judged) >= 8 * len(changes)
    assert [both for both in judged if both[0] != both[1]] == []


def test_azure_takes_its_key_in_a_header_of_its_own(office: Office, faults: FaultyUpstream, marker: str) -> None:
    assert ask(office, f"{marker} before", "west-1").status_code == 200
    office.do("admin", "PUT", "upstream_keys/west", key=OWN)
    assert ask(office, f"{marker} after", "west-1", stream=True).status_code == 200
    before, after = (account_of(request) for request in faults.about(marker))
    assert (before, after) == ((None, AZURE, None, None), (None, OWN, None, None))


def test_what_an_own_key_is_refused_is_on_nobody_else_s_account_and_no_fault_of_the_upstream(
    gateway: Gateway, office: Office, faults: FaultyUpstream, marker: str
) -> None:
    """The breaker opens after two failures, for the tenant alone; the spare upstream, which it has no key for, is never
    asked for it."""
    neighbour = open_office(gateway)
    office.do("admin", "PUT", "upstream_keys/first", key=OWN)
    refused = [ask(office, f"{marker} fault:status-401", "gpt-refused") for _ in range(5)]
    assert {answer.status_code for answer in refused} == {502}
    assert "first refused your tenant's own key for it" in refused[0].text
    limited = [ask(office, f"{marker} fault:status-429", "gpt-limited") for _ in range(3)]
    assert {answer.status_code for answer in limited} <= {429, 502}
    accounts = {(request.path.split("/")[1], account_of(request)) for request in faults.about(marker)}
    assert accounts == {("first", (f"Bearer {OWN}", None, None, None))}
    for model in ("gpt-refused", "gpt-limited"):
        assert ask(neighbour, f"{marker} for the neighbour", model).status_code == 200
    assert {account_of(request) for request in faults.about(f"{marker} for the neighbour")} == {ON_OURS}
    assert {request.path.split("/")[1] for request in faults.about(f"{marker} for the neighbour")} == {"first"}
    assert ask(office, f"{marker} elsewhere", "spare").status_code == 200  # where it has no key at all, we pay as ever
    office.do("admin", "PUT", "upstream_keys/first", key=OTHER)
    assert ask(office, f"{marker} mended", "gpt-refused").status_code == 200


def test_a_call_falls_back_only_to_upstreams_for_which_the_tenant_has_a_key(
    office: Office, faults: FaultyUpstream, marker: str
) -> None:
    asking = f"{marker} fault:status-500"
    assert ask(office, f"{asking} ours", "gpt-a").status_code == 502
    assert [request.path.split("/")[1] for request in faults.about(f"{asking} ours")] == ["first", "spare"]
    office.do("admin", "PUT", "upstream_keys/first", key=OWN)
    assert ask(office, f"{asking} one", "gpt-b").status_code == 502
    assert [request.path.split("/")[1] for request in faults.about(f"{asking} one")] == ["first"]
    office.do("admin", "PUT", "upstream_keys/spare", key=OTHER)
    assert ask(office, f"{asking} both", "gpt-c").status_code == 502
    found = [(request.path.split("/")[1], request.headers["authorization"]) for request in faults.about(f"{asking} bo")]
    assert found == [("first", f"Bearer {OWN}"), ("spare", f"Bearer {OTHER}")]


def test_nobody_can_read_a_key_back(gateway: Gateway, office: Office, marker: str) -> None:
    office.do("admin", "PUT", "upstream_keys/first", key=OWN)
    office.do("admin", "PUT", "upstream_keys/spare", key=OTHER)
    page = office.get("admin", "upstream_keys", limit="1")
    assert [record["upstream"] for record in page["data"]] == ["first"]
    rest = office.get("admin", "upstream_keys", after=page["after"])
    assert [sorted(record) for record in rest["data"]] == [["configured", "set_at", "upstream"]]
    spaced = office.ask("admin", "PUT", "upstream_keys/first", json={"key": f"{OWN} {OWN}"})
    assert spaced.status_code == 400
    assert office.ask("admin", "PUT", "upstream_keys/none", json={"key": OWN}).status_code == 404
    assert office.ask("admin", "DELETE", "upstream_keys/%00", json=None).status_code == 404
    assert office.ask("user", "PUT", "upstream_keys/first", json={"key": OWN}).status_code == 403
    said = [page, rest, spaced.text, ask(office, f"{marker} fault:status-403", "gpt-d").text]
    said += [office.get("admin", "trail"), gateway.log()]
    with world_of(gateway.database_url) as world, world.database.read() as connection:
        kept = connection.execute(text("SELECT sealed_key FROM upstream_keys")).scalars().all()
    said += [bytes(sealed) for sealed in kept]
    for key in (OWN, OTHER):
        assert not any(key[3:15] in str(each) for each in said)
    entries = said[4]["data"]
    assert {"upstream_key.set"} <= {entry["action"] for entry in entries}


def test_a_key_that_cannot_be_decrypted_is_told_and_nobody_else_pays(
    gateway: Gateway, office: Office, faults: FaultyUpstream, marker: str
) -> None:
    """A machine with other encryption keys has set it."""
    elsewhere = {"CHATAPI_ENCRYPTION_KEYS": KEYS[2]}
    gateway.cli("upstream-keys", "set", office.tenant, "first", stdin=f"{OWN}\n", environment=elsewhere)
    for _ in range(4):
        answer = ask(office, marker)
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "60")
        assert "cannot be decrypted" in answer.text
    assert faults.about(marker) == []
    lines = [line for line in gateway.log_lines() if line.get("event") == "upstream_key_not_opened"]
    assert (office.ids["tenant"], "first") in {(line["tenant"], line["upstream"]) for line in lines}
    refused = gateway.run("upstream-keys", "rotate")
    assert refused.returncode == 1
    assert f"upstream_keys/{office.ids['tenant']}/first" in refused.stderr
    gateway.cli("upstream-keys", "set", office.tenant, "first", stdin=f"{OWN}\n")
    assert ask(office, marker).status_code == 200
    gateway.cli("upstream-keys", "remove", office.tenant, "first")
    assert json.loads(gateway.cli("upstream-keys", "list", office.tenant, "--json")) == []


def test_rotation_encrypts_with_the_new_key_while_calls_go_on(
    gateway: Gateway, office: Office, faults: FaultyUpstream, marker: str
) -> None:
    """The gateway knows both keys, as it must before; another time there is nothing left to do."""
    office.do("admin", "PUT", "upstream_keys/first", key=OWN)
    made = office.do("admin", "POST", "webhooks", 201, url="https://alerts.example/hook")
    newer = {"CHATAPI_ENCRYPTION_KEYS": f"{KEYS[1]},{KEYS[0]}"}
    first = gateway.run("upstream-keys", "rotate", environment=newer)
    again = gateway.run("upstream-keys", "rotate", environment=newer)
    assert first.returncode == 0, first.stderr
    assert " 0 encrypted anew" not in f" {first.stderr}"
    assert again.stderr.startswith("0 encrypted anew")
    alone = {"CHATAPI_ENCRYPTION_KEYS": KEYS[1]}  # the old one is not needed any more
    assert "first" in gateway.cli("upstream-keys", "list", office.tenant, environment=alone)
    assert gateway.run("upstream-keys", "rotate", environment=alone).returncode == 0
    assert ask(office, marker).status_code == 200
    assert [request.headers["authorization"] for request in faults.about(marker)] == [f"Bearer {OWN}"]
    assert office.do("admin", "POST", f"webhooks/{made['id']}/secret", 201)["secret"]
    assert "encryption_key.rotate" in gateway.cli("trail", "--json")
