"""Fixtures of the chaos runs: an upstream that logs what it served, and a PostgreSQL that may be killed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.emulator.process import Emulator
from tests.chaos.machines import LONG, MakeMachine, machines
from tests.support.gateway import Gateway
from tests.support.postgres import Postgres


@pytest.fixture(autouse=True)
def _how_masters_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """In long runs each master is a program of its own; in short ones importing again and again was half the work."""
    monkeypatch.setattr(Gateway, "from_nursery", not LONG)


@pytest.fixture
def emulator(tmp_path: Path) -> Iterator[Emulator]:
    """The upstream; its log is the test's own."""
    with Emulator(tmp_path / "served.jsonl") as running:
        yield running


@pytest.fixture
def own_postgres() -> Iterator[Postgres]:
    """A server that the test may stop, kill, suspend or fill."""
    server = Postgres()
    yield server
    server.close()


@pytest.fixture
def make_machine() -> Iterator[MakeMachine]:
    """`make_machine(database_url, upstream_url, host=…, more=…)`: a gateway that is stopped with the test."""
    with machines() as make:
        yield make
