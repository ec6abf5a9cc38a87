"""Answers are given to clients when their settlements are written, not before."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, cast

import pytest
import sqlalchemy
from flask import Flask, Response

from chatapi.domain.calls import Settlement
from chatapi.endpoint import errors, request_log
from chatapi.endpoint.answers import AnswerResponse, hold_back
from chatapi.errors import DatabaseUnavailable
from chatapi.logic.running import Settling
from chatapi.storage.tickets import Ticket
from tests.support.faults import FaultyUpstream
from tests.support.gateway import Gateway, MakeGateway
from tests.support.ledger import endings
from tests.support.routes import API, COMPLETIONS, PROMPT, Route, name_of

HELD_UP_S = 0.6


@contextmanager
def locked(database_url: str) -> Iterator[None]:
    """Nothing can be written."""
    engine = sqlalchemy.create_engine(database_url, isolation_level="AUTOCOMMIT")
    is_sqlite = database_url.startswith("sqlite")
    with engine.connect() as connection:
        for statement in ["BEGIN IMMEDIATE"] if is_sqlite else ["BEGIN", "LOCK TABLE calls IN EXCLUSIVE MODE"]:
            connection.exec_driver_sql(statement)
        try:
            yield
        finally:
            connection.exec_driver_sql("ROLLBACK")
    engine.dispose()


@pytest.fixture(scope="module")
def gateway(lasting_database_url: str, make_lasting_gateway: MakeGateway) -> Gateway:
    gateway = make_lasting_gateway(lasting_database_url, start=False)
    gateway.start_with_users()
    return gateway


@pytest.mark.parametrize("route", [API, PROMPT, COMPLETIONS], ids=name_of)
def test_an_answer_waits_for_its_settlement(gateway: Gateway, faults: FaultyUpstream, route: Route) -> None:
    token = gateway.sign_in()
    before = len(endings(gateway.database_url))
    gate = f"settled-{time.time_ns()}"
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(route.ask, gateway, f"hello fault:gate-{gate}", token)
        faults.await_about(gate)
        with locked(gateway.database_url):
            faults.open_gate(gate)
            time.sleep(HELD_UP_S)
            assert not asking.done()
            assert [call.state for call in endings(gateway.database_url)[before:]] == ["held"]
        assert asking.result().status_code == 200
    ended = [call.kind for call in endings(gateway.database_url)[before:]]
    assert ended == [("settled", "completed", True, "upstream")]


def reply_behind(error: Exception) -> tuple[Any, list[str]]:
    """The reply of an app whose answer is settled like this, and what happened besides."""
    happened: list[str] = []
    app = Flask("answers")
    app.response_class = AnswerResponse
    request_log.install(app, trusted_proxies=0)
    errors.install(app)

    @app.get("/")
    def answer() -> Response:
        ticket = Ticket(cast(Settlement, None))
        ticket.fail(error)
        hold_back(Settling(ticket, lambda: happened.append("left")))
        return Response("the answer")

    return app.test_client().get("/"), happened


def test_an_answer_is_given_when_its_settlement_is_owed() -> None:
    reply, happened = reply_behind(DatabaseUnavailable())
    assert (reply.status_code, reply.text, happened) == (200, "the answer", ["left"])


def test_an_answer_whose_settlement_is_wrong_in_itself_is_not_given(capfd: pytest.CaptureFixture[str]) -> None:
    reply, happened = reply_behind(ValueError("a secret"))
    assert (reply.status_code, happened) == (500, ["left"])
    assert "the answer" not in reply.text
    said = "".join(capfd.readouterr())
    assert "ValueError" in said and "tickets.py" in said
    assert "a secret" not in said
