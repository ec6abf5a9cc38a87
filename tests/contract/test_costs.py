"""What calls cost, limits on cost, permissions of models, and what happens near a limit, as clients meet them."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from tests.support.faults import PROMPT_TOKENS, FaultyUpstream, pieces_of, reply_to
from tests.support.gateway import Gateway, MakeGateway
from tests.support.limits import ask, limit
from tests.support.upstreams_files import with_upstreams
from tests.support.users import User

FILE = """
[[upstreams]]
name = "only"
kind = "compatible"
base_url = "{url}"

[aliases]
cheap = "dear"

[[models]]
name = "dear"
default_completion_tokens = 50
largest_completion_tokens = 4000

[[models.prices]]
prompt = "1000"
completion = "2000.5"

[[models]]
name = "gpt-4o-dear"

[[models.prices]]
prompt = "1000"
completion = "2000.5"

[[models]]
name = "gpt-x-search-api"

[[models.prices]]
prompt = "1000"
completion = "2000.5"
per_web_search = "0.01"
"""
PROMPT_PRICE, COMPLETION_PRICE = 1_000_000, 2_000_500  # nano-dollars per token
LONG = "a b c d e f g h i j k l m n o p q r s t u v w x y z"


@pytest.fixture(scope="module")
def gateway(
    lasting_database_url: str,
    make_lasting_gateway: MakeGateway,
    faults: FaultyUpstream,
    tmp_path_factory: pytest.TempPathFactory,
) -> Gateway:
    path = tmp_path_factory.mktemp("upstreams") / "upstreams.toml"
    return with_upstreams(make_lasting_gateway, lasting_database_url, path, FILE.format(url=faults.url))


def row_of(gateway: Gateway, user: User) -> dict[str, Any]:
    """What the user was charged, of one model and day."""
    [row] = gateway.usage(user.tenant)
    return row


def test_a_call_costs_what_its_tokens_cost_under_an_alias_too_plain_and_streamed(gateway: Gateway, user: User) -> None:
    token = gateway.token(user)
    assert ask(gateway, token, LONG, model="cheap").status_code == 200
    assert ask(gateway, token, LONG, model="cheap", stream=True).status_code == 200
    completion = len(pieces_of(reply_to(LONG)))
    row = row_of(gateway, user)
    assert (row["model"], row["requests"], row["completion_tokens"]) == ("dear", 2, 2 * completion)
    assert row["cost_nanodollars"] == 2 * (PROMPT_TOKENS * PROMPT_PRICE + completion * COMPLETION_PRICE)
    assert "$" in gateway.cli("usage", "--tenant", user.tenant)
    gateway.cli("audit")


def test_the_cost_of_a_model_without_a_price_is_unknown_and_not_nothing(gateway: Gateway, user: User) -> None:
    assert ask(gateway, gateway.token(user), model="nobody-knows-this").status_code == 200
    assert row_of(gateway, user)["cost_nanodollars"] is None
    assert "unknown" in gateway.cli("usage", "--tenant", user.tenant)
    gateway.cli("audit")


def test_a_limit_on_cost_holds_shortens_and_refuses_what_has_no_price(gateway: Gateway, user: User) -> None:
    token = gateway.token(user)
    limit(gateway, "0.25", "--user", user.name, "--metric", "cost")
    unpriced = ask(gateway, token, model="nobody-knows-this")
    assert (unpriced.status_code, unpriced.json()["error"]["param"]) == (400, "model")
    first = ask(gateway, token, "hi", model="dear", max_tokens=1000)
    assert first.status_code == 200, first.text
    assert 16 <= int(first.headers["x-chatapi-clamped"]) < 125, "0.25 dollars are 125 tokens at most"
    spent = row_of(gateway, user)["cost_nanodollars"]
    assert 0 < spent <= 250_000_000
    denied = [answer for _ in range(12) if (answer := ask(gateway, token, "hi", model="dear")).status_code == 429]
    assert denied
    error = denied[0].json()["error"]
    assert error["code"] == "insufficient_quota" and "cost per day for this user" in error["message"]
    assert "x-ratelimit-limit-cost" not in denied[0].headers
    assert row_of(gateway, user)["cost_nanodollars"] <= 250_000_000
    shown = gateway.cli("limits", "show", "--user", user.name)
    assert "$0.25" in shown
    gateway.cli("audit")


def test_a_prompt_is_counted_where_its_bytes_alone_are_above_a_limit_on_cost(gateway: Gateway, user: User) -> None:
    token, text = gateway.token(user), "counted " * 100  # of 100 tokens, and 800 bytes
    limit(gateway, "0.5", "--user", user.name, "--metric", "cost")
    assert ask(gateway, token, text, model="gpt-4o-dear", max_tokens=20).status_code == 200
    assert ask(gateway, token, text, model="dear", max_tokens=20).status_code == 429, "its vocabulary is not known"
    gateway.cli("audit")


def test_a_search_of_the_web_is_charged_and_refused_where_it_has_no_price(gateway: Gateway, user: User) -> None:
    token = gateway.token(user)
    limit(gateway, "10", "--user", user.name, "--metric", "cost")
    unpriced = ask(gateway, token, LONG, model="dear", web_search_options={})
    assert (unpriced.status_code, unpriced.json()["error"]["param"]) == (400, "model")
    assert ask(gateway, token, LONG, model="gpt-x-search-api").status_code == 200
    assert ask(gateway, token, LONG, model="gpt-x-search-api", web_search_options={}, stream=True).status_code == 200
    tokens = PROMPT_TOKENS * PROMPT_PRICE + len(pieces_of(reply_to(LONG))) * COMPLETION_PRICE
    assert row_of(gateway, user)["cost_nanodollars"] == 2 * (tokens + 10_000_000)
    gateway.cli("audit")


def test_a_completion_is_shortened_to_what_is_left_or_refused_as_the_tenant_chose(
    gateway: Gateway, user: User, faults: FaultyUpstream
) -> None:
    token = gateway.token(user)
    limit(gateway, "500", "--user", user.name, "--metric", "tokens")
    shortened = ask(gateway, token, "shorten me", model="dear", max_tokens=4000)
    assert shortened.status_code == 200
    cap = int(shortened.headers["x-chatapi-clamped"])
    assert cap < 500
    assert faults.about("shorten me")[-1].body["max_tokens"] == cap
    whole = ask(gateway, token, "whole", model="dear", max_tokens=20)
    assert "x-chatapi-clamped" not in whole.headers
    gateway.cli("tenants", "near-limit", user.tenant, "refuse")
    refused = ask(gateway, token, "refuse me", model="dear", max_tokens=4000)
    assert refused.status_code == 429 and not faults.about("refuse me")
    assert ask(gateway, token, "fits", model="dear", max_tokens=20).status_code == 200
    gateway.cli("audit")


def names(answer: httpx2.Response) -> set[str]:
    return {model["id"] for model in answer.json()["data"]}


def test_models_are_allowed_by_tenant_and_by_user_from_the_next_call_on(gateway: Gateway, user: User) -> None:
    token = gateway.token(user)

    def status(model: str) -> int:
        answer = ask(gateway, token, model=model)
        if answer.status_code == 403:
            assert answer.json()["error"]["code"] == "model_not_found"
        return answer.status_code

    gateway.cli("models", "allow", "d*", "tiny", "--tenant", user.tenant)
    assert [status("dear"), status("cheap"), status("tiny"), status("other")] == [200, 200, 200, 403]
    gateway.cli("models", "allow", "dear", "other", "--user", user.name)
    assert [status("dear"), status("cheap"), status("tiny"), status("other")] == [200, 200, 403, 403]
    listed = names(gateway.http.get("/v1/models", access_token=token))
    assert {"dear", "cheap"} <= listed and "tiny" not in listed
    assert "dear, other" in gateway.cli("models", "allowed", "--user", user.name)
    gateway.cli("models", "allow", "--all", "--tenant", user.tenant)
    gateway.cli("models", "allow", "--all", "--user", user.name)
    assert status("other") == 200
    assert gateway.run("models", "allow", "x", "--tenant", "nobody").returncode == 1
    assert gateway.run("models", "allow", "--tenant", user.tenant).returncode == 1
    price = gateway.cli("models", "price", "cheap")
    assert "$1,000.00" in price and "configuration" in price


def test_a_model_that_is_described_bounds_what_may_be_asked_of_it(gateway: Gateway, user: User) -> None:
    refused = ask(gateway, gateway.token(user), model="cheap", max_tokens=5000)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "max_tokens")
    assert "at most 4000 completion tokens" in refused.json()["error"]["message"]
    assert gateway.usage(user.tenant) == []
