"""How upstreams are, and what models cost: over HTTP and by command, as all workers of a gateway see it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest
from sqlalchemy import insert

from chatapi.storage.admin_tables import price_overrides
from tests.concurrency.world import world_of
from tests.support.faults import PROMPT_TOKENS, FaultyUpstream, pieces_of, reply_to
from tests.support.gateway import Gateway, MakeGateway
from tests.support.office import Office

FILE = """
[[upstreams]]
name = "main"
kind = "compatible"
base_url = "{url}"

[[upstreams]]
name = "aside"
kind = "compatible"
base_url = "{url}"
models = ["nothing"]

[aliases]
nick = "priced"

[[models]]
name = "priced"

[[models.prices]]
prompt = "1"
completion = "2"

[breaker]
failures = 2
open_s = 3600
"""
RENEW_S = 0.5
PATIENCE_S = 10.0


@pytest.fixture(scope="module")
def gateway(
    lasting_database_url: str,
    make_lasting_gateway: MakeGateway,
    faults: FaultyUpstream,
    tmp_path_factory: pytest.TempPathFactory,
) -> Gateway:
    path = tmp_path_factory.mktemp("upstreams") / "upstreams.toml"
    path.write_text(FILE.format(url=faults.url))
    environment = {"CHATAPI_UPSTREAMS_FILE": str(path), "CHATAPI_RENEW_S": str(RENEW_S)}
    return make_lasting_gateway(lasting_database_url, upstream_url=None, environment=environment)


def ask(office: Office, text: str, model: str) -> httpx2.Response:
    body = {"model": model, "messages": [{"role": "user", "content": text}], "max_tokens": 50}
    return office.gateway.http.post("/v1/chat/completions", json=body, access_token=office.tokens["user"])


def await_(look: Callable[[], Any]) -> Any:
    """What is there in the end."""
    give_up_at = time.monotonic() + PATIENCE_S
    while not (found := look()):
        assert time.monotonic() < give_up_at
        time.sleep(0.1)
    return found


def fares(office: Office, model: str) -> dict[str, Any] | None:
    """How a model fares at the main upstream."""
    main, aside = office.get("operator", "/admin/upstreams")["data"]
    assert (main["name"], main["kind"], main["serves"]) == ("main", "compatible", ["*"])
    assert (aside["name"], aside["models"]) == ("aside", [])
    return next((each for each in main["models"] if each["model"] == model), None)


def test_every_worker_says_how_upstreams_are_and_all_of_it_stands_together(
    gateway: Gateway, office: Office, faults: FaultyUpstream, marker: str
) -> None:
    answers = [ask(office, f"{marker} fault:status-503", marker) for _ in range(8)]
    assert {answer.status_code for answer in answers} == {502}
    failed = len(faults.about(marker))
    assert failed < 8, "no breaker has opened"
    found = await_(lambda: (told := fares(office, marker)) and told["recent_failures"] == failed and told)
    assert found["breaker"] == "open" and 3500 < found["rests_s"] <= 3600
    assert found["failures"] == 2
    assert found["last_error"]["kind"] == "failed 503"
    assert abs(datetime.fromisoformat(found["last_error"]["at"]) - datetime.now(UTC)) < timedelta(minutes=1)
    assert sum(worker["recent_failures"] for worker in found["workers"]) == failed
    (row,) = [row for row in json.loads(gateway.cli("upstreams", "--json"))[0]["models"] if row["model"] == marker]
    assert (row["breaker"], row["recent_failures"], len(row["workers"])) == ("open", failed, len(found["workers"]))
    shown = gateway.cli("upstreams")
    assert "not called yet" in shown
    assert "open for 3" in next(line for line in shown.splitlines() if marker in line)


def test_a_call_that_is_under_way_is_seen_and_forgotten_when_it_ends(
    office: Office, faults: FaultyUpstream, marker: str
) -> None:
    body = {"model": marker, "messages": [{"role": "user", "content": f"{marker} fault:gate-{marker}"}]}
    with httpx2.Client(base_url=office.gateway.base_url, trust_env=False) as client:
        thread = threading.Thread(
            target=client.post,
            args=("/v1/chat/completions",),
            kwargs={"json": body, "headers": {"Authorization": f"Bearer {office.tokens['user']}"}},
        )
        thread.start()
        found = await_(lambda: (told := fares(office, marker)) and told["in_flight"] and told)
        assert (found["in_flight"], found["breaker"], found["last_error"]) == (1, "closed", None)
        faults.open_gate(marker)
        thread.join()
    await_(lambda: (told := fares(office, marker)) and not told["in_flight"])


def cost(office: Office, text: str) -> int:
    """What a call is charged, in nano-dollars."""
    assert ask(office, text, "nick").status_code == 200
    newest = office.get("user", "/v1/me/calls", limit="1")["data"][0]
    explained = office.get("user", f"/v1/me/calls/{newest['id']}")
    charged: int = explained["cost_nanodollars"]
    assert explained["price"]["adds_up"] and charged <= explained["bound"]["cost_nanodollars"]
    return charged


def at(prompt: int, completion: int, text: str) -> int:
    """The same, by so many nano-dollars a token."""
    return PROMPT_TOKENS * prompt + len(pieces_of(reply_to(text))) * completion


def test_a_price_that_operators_set_holds_in_every_process_from_its_instant_on(
    gateway: Gateway, office: Office, marker: str
) -> None:
    """Written to the database with less notice than operators must give: every worker reads it twice before it begins,
    as it reads those with a minute's notice many times."""
    assert cost(office, f"{marker} before") == at(1000, 2000, f"{marker} before")
    begins_at = datetime.now(UTC) + timedelta(seconds=2.5)
    with world_of(gateway.database_url) as world, world.database.write() as connection:
        row = {"model": "priced", "price": '{"prompt": "3", "completion": "4"}', "made_at": datetime.now(UTC)}
        connection.execute(insert(price_overrides).values(begins_at=begins_at, **row))
    while datetime.now(UTC) < begins_at:
        time.sleep(0.1)
    time.sleep(0.1)  # where the database's clock is a little behind
    assert {cost(office, f"{marker} after") for _ in range(6)} == {at(3000, 4000, f"{marker} after")}
    (now,) = office.get("operator", "/admin/prices/current", model="nick")["data"]
    assert (now["prompt"], now["completion"], now["source"]) == (3_000_000_000, 4_000_000_000, "override")
    assert "override" in gateway.cli("models", "price", "priced")
    newest = office.get("user", "/v1/me/calls", limit="1")["data"][0]
    assert json.loads(gateway.cli("explain", newest["id"], "--json"))["price"]["source"] == "override"
    gateway.cli("audit")


def test_operators_set_list_and_take_back_prices(gateway: Gateway, office: Office, marker: str) -> None:
    begins_at = (datetime.now(UTC) + timedelta(days=30)).replace(microsecond=0)
    price = {"prompt": "0.15", "per_image": {"1024x1024": "0.04", "other": "0.12"}}
    said = {"model": marker, "price": price, "begins_at": begins_at.isoformat()}
    made = office.do("operator", "POST", "/admin/prices", 201, **said)
    assert (made["model"], made["price"]) == (marker, price)
    assert datetime.fromisoformat(made["begins_at"]) == begins_at
    soonest = office.do("operator", "POST", "/admin/prices", 201, model=marker, price=None)
    assert 55 < (datetime.fromisoformat(soonest["begins_at"]) - datetime.now(UTC)).total_seconds() <= 61
    first = office.get("operator", "/admin/prices", model=marker, limit="1")
    rest = office.get("operator", "/admin/prices", model=marker, after=first["after"])
    assert [*first["data"], *rest["data"]] == [soonest, made]
    office.do("operator", "POST", "/admin/prices", 409, **said)
    wrong = office.do("operator", "POST", "/admin/prices", 400, model=marker, price={"promt": "1", "completion": "-2"})
    assert {error["field"] for error in wrong["errors"]} == {"price.promt", "price.completion"}
    past = {"begins_at": (datetime.now(UTC) + timedelta(seconds=30)).isoformat()}
    office.do("operator", "POST", "/admin/prices", 400, model=marker, price=None, **past)
    office.do("operator", "POST", "/admin/prices", 400, model="nick", price=None)
    office.do("operator", "DELETE", f"/admin/prices/{made['id']}", 204)
    office.do("operator", "DELETE", f"/admin/prices/{made['id']}", 404)
    words = ["prompt=0.15", "completion=0.60", 'per_image={"other": "0.1"}']
    gateway.cli("models", "set-price", marker, *words, "--from", begins_at.isoformat())
    listed = json.loads(gateway.cli("models", "price-overrides", "--model", marker, "--json"))
    prices = [None, {"prompt": "0.15", "completion": "0.60", "per_image": {"other": "0.1"}}]
    assert [row["price"] for row in listed] == prices
    gateway.cli("models", "drop-price", listed[1]["id"])
    assert gateway.run("models", "drop-price", listed[1]["id"]).returncode == 1
    assert gateway.run("models", "set-price", marker).returncode == 1
    entries = [entry for entry in json.loads(gateway.cli("trail", "--json")) if entry["subject"] == marker]
    assert {entry["action"] for entry in entries} == {"price.set", "price.remove"}
