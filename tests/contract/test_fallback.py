"""Several upstreams: a call that one of them cannot answer is answered by the next, and every attempt has its row."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from sqlalchemy import select

from chatapi.storage.tables import attempts, calls
from tests.concurrency.world import world_of
from tests.support.faults import SECRET, FaultyUpstream
from tests.support.gateway import Gateway, MakeGateway
from tests.support.postgres import FreshDatabase
from tests.support.processes import free_port

FAULTS = {
    "failing": "fault:status-500",
    "limited": "fault:status-429",
    "locked": "fault:status-401",
    "silent": "fault:hang",
    "closing": "fault:disconnect",
    "bad": "fault:status-400",
    "broken": "fault:cut",
    "cut-event": "fault:error-event",
    "lost": "fault:status-500",
    "closing-lost": "fault:disconnect",
}
FILE = """
[[upstreams]]
name = "first"
kind = "compatible"
base_url = "{url}"
models = {models}
{names}

[[upstreams]]
name = "away"
kind = "compatible"
base_url = "http://127.0.0.1:{port}/v1"
models = ["unreachable"]

[[upstreams]]
name = "spare"
kind = "compatible"
base_url = "{url}"
weight = 0
models = ["*e*", "*o*", "*i*", "bad"]
names.lost = "fault:status-503"
names.closing-lost = "fault:status-503"

[aliases]
old-name = "failing"

[retries]
share = 1.0
reserve = 1000

[breaker]
failures = {failures}
open_s = 3600
"""


def write(folder: Path, faults: FaultyUpstream, failures: int = 1_000_000) -> dict[str, str]:
    """Write the file; the setting that names it."""
    names = "\n".join(f'names.{model} = "{fault}"' for model, fault in FAULTS.items())
    text = FILE.format(url=faults.url, models=list(FAULTS), names=names, port=free_port(), failures=failures)
    path = folder / "upstreams.toml"
    path.write_text(text)
    return {"CHATAPI_UPSTREAMS_FILE": str(path)}


@pytest.fixture(params=["sqlite", "postgresql"])
def gateway(
    request: pytest.FixtureRequest,
    fresh_database: FreshDatabase,
    make_gateway: MakeGateway,
    faults: FaultyUpstream,
    tmp_path: Path,
) -> Iterator[Gateway]:
    made = make_gateway(
        fresh_database(request.param),
        upstream_url=None,
        environment=write(tmp_path, faults) | {"CHATAPI_FIRST_BYTE_TIMEOUT_S": "0.5"},
        start=False,
    )
    made.start_with_users()
    yield made


def ask(gateway: Gateway, model: str, marker: str, *, stream: bool = False) -> httpx2.Response:
    body = {"model": model, "messages": [{"role": "user", "content": marker}], "stream": stream}
    headers = {"Authorization": f"Bearer {gateway.somebody}"}
    return gateway.http.post("/v1/chat/completions", json=body, headers=headers)


def rows_of(gateway: Gateway) -> list[tuple[str, str, bool, list[tuple[int, str, str]]]]:
    """Of each call: its model, its state, whether it was answered, and its attempts."""
    with world_of(gateway.database_url) as world, world.database.read() as connection:
        tries = connection.execute(select(attempts).order_by(attempts.c.call_id, attempts.c.number)).mappings().all()
        found = connection.execute(select(calls).order_by(calls.c.id)).mappings().all()
    return [
        (
            row["model"],
            row["state"],
            row["answered"],
            [(one["number"], one["upstream"], one["state"]) for one in tries if one["call_id"] == row["id"]],
        )
        for row in found
    ]


def test_every_way_of_failing_before_the_answer_leads_to_the_next_upstream(gateway: Gateway) -> None:
    """Plain and streamed, under an alias too; the call is charged once, and the ledger shows both attempts."""
    expected = []
    for model, upstream, outcome in [
        ("failing", "first", "refused"),
        ("old-name", "first", "refused"),
        ("closing", "first", "unknown"),
        ("silent", "first", "unknown"),
        ("unreachable", "away", "refused"),
    ]:
        for stream in (False, True):
            answer = ask(gateway, model, "hello", stream=stream)
            assert answer.status_code == 200, (model, answer.text)
            assert "hello" in answer.text
            resolved = "failing" if model == "old-name" else model
            expected.append((resolved, "settled", True, [(1, upstream, outcome), (2, "spare", "answered")]))
    assert ask(gateway, "limited", "hello").status_code == 200
    expected.append(("limited", "settled", True, [(1, "first", "refused"), (2, "spare", "answered")]))
    assert ask(gateway, "limited", "hello").status_code == 200  # whom one has to wait for is not asked for a while
    expected.append(("limited", "settled", True, [(1, "spare", "answered")]))
    assert ask(gateway, "locked", "hello").status_code == 200  # that it refuses our key is its own affair
    expected.append(("locked", "settled", True, [(1, "first", "refused"), (2, "spare", "answered")]))
    assert rows_of(gateway) == expected
    gateway.cli("audit")
    used = {(row["model"], row["requests"]) for row in gateway.usage()}
    assert used == {("failing", 4), ("limited", 2), ("locked", 1), ("closing", 2), ("silent", 2), ("unreachable", 2)}


def test_what_is_no_fault_of_the_upstream_or_comes_too_late_is_not_tried_again(gateway: Gateway) -> None:
    refused = ask(gateway, "bad", "hello")
    assert refused.status_code == 400
    broken = ask(gateway, "broken", "hello")
    assert broken.status_code == 502
    assert "error" in ask(gateway, "cut-event", "hello", stream=True).text
    lost = ask(gateway, "lost", "hello")
    assert lost.status_code == 502
    assert SECRET not in refused.text + broken.text + lost.text
    assert [(model, state, answered, len(tries)) for model, state, answered, tries in rows_of(gateway)] == [
        ("bad", "released", False, 1),
        ("broken", "settled", False, 1),
        ("cut-event", "settled", False, 1),
        ("lost", "released", False, 2),
    ]
    gateway.cli("audit")


def test_a_call_that_none_of_them_answers_and_one_may_have_run_is_charged_at_its_hold(gateway: Gateway) -> None:
    """Each attempt says what became of itself."""
    for stream in (False, True):
        assert ask(gateway, "closing-lost", "hello", stream=stream).status_code == 502
    tries = [(1, "first", "unknown"), (2, "spare", "refused")]
    assert rows_of(gateway) == [("closing-lost", "settled", False, tries)] * 2
    gateway.cli("audit")


def test_an_unknown_model_is_refused_in_openai_s_words_and_holds_nothing(gateway: Gateway) -> None:
    answer = ask(gateway, "xx", "hello")
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "model_not_found"
    assert rows_of(gateway) == []


def test_an_upstream_that_keeps_failing_is_left_alone(
    make_gateway: MakeGateway, sqlite_url: str, faults: FaultyUpstream, tmp_path: Path
) -> None:
    """Whom nobody can answer is told so without a call to anyone, and nothing is held."""
    environment = write(tmp_path, faults, failures=2)
    gateway = make_gateway(sqlite_url, upstream_url=None, environment=environment, start=False)
    gateway.start_with_users()
    marker = f"marker-{uuid.uuid4().hex}"
    answers = [ask(gateway, "lost", marker) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [502] * 4
    assert len(faults.about(marker)) == 4  # two calls, each to both
    assert int(answers[3].headers["Retry-After"]) > 60
    assert len(rows_of(gateway)) == 2
    log = gateway.log()
    assert SECRET not in log and marker not in log
