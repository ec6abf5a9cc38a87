"""Whether the ledger's rows equal what an upstream logged of the same calls."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from bench.emulator.process import Emulator
from chatapi.storage.tables import calls
from tests.concurrency.world import world_of

PATIENCE_S = 5.0


@dataclass(frozen=True, slots=True)
class Reported:
    """What an upstream said of a call's usage: tokens. `status` is that of its answer."""

    prompt: int = 0
    completion: int = 0
    cached: int = 0
    reasoning: int = 0
    status: int = 200


@dataclass(frozen=True, slots=True)
class Unreported:
    """A call of whose usage the upstream said nothing that can be believed.

    Args:
        completion: the tokens of what it produced, where that is known.
        whole: whether it answered to the end.
    """

    completion: int | None = None
    whole: bool = True


Log = Mapping[str, Reported | Unreported]
"""What an upstream logged, by the gateway's ids of the calls."""


def rows_of(database_url: str) -> dict[str, dict[str, Any]]:
    """The ledger's calls by their ids, oldest first."""
    with world_of(database_url) as world, world.database.read() as connection:
        found = connection.execute(select(calls).order_by(calls.c.id)).mappings()
        return {str(row["id"]): dict(row) for row in found}


def ledger_equals(
    database_url: str, log: Callable[[], Log], *, before: frozenset[str] = frozenset()
) -> list[dict[str, Any]]:
    """Hold the ledger's rows, but those that were there `before`, against the upstream's log; the rows.

    Waits a little for both: an upstream may log, and a cut call may be settled, after the client has its answer.

    Raises:
        AssertionError: one of them knows a call that the other does not, or they disagree about one.
    """
    give_up_at = time.monotonic() + PATIENCE_S
    while True:
        rows = {call: row for call, row in rows_of(database_url).items() if call not in before}
        served = {call: said for call, said in log().items() if call not in before}
        settled = all(row["state"] != "held" for row in rows.values())
        if (rows.keys() == served.keys() and settled) or time.monotonic() > give_up_at:
            break
        time.sleep(0.02)
    assert rows.keys() == served.keys(), "the ledger and the upstream do not know the same calls"
    wrong = [
        (call, served[call], difference) for call, row in rows.items() if (difference := _difference(row, served[call]))
    ]
    assert not wrong, wrong
    return list(rows.values())


def emulator_log(emulator: Emulator) -> Log:
    """What the emulator logged of calls that have ended."""
    return {entry["call"]: _said(entry) for entry in emulator.ended().values()}


def _said(entry: dict[str, Any]) -> Reported | Unreported:
    if entry["status"] != 200:
        return Reported(status=entry["status"] or 0)
    if entry["completion_tokens"] is None:
        return Unreported(entry["produced_tokens"], entry["how"] == "served")
    return Reported(entry["prompt_tokens"], entry["completion_tokens"])


def _difference(row: dict[str, Any], said: Reported | Unreported) -> dict[str, tuple[object, object]]:
    """What the ledger has and what it should have, of each column that is wrong."""
    if isinstance(said, Unreported):
        expected: dict[str, object] = {"state": "settled", "usage_source": "counted", "answered": said.whole}
        expected["ended"] = "completed" if said.whole else "upstream_error"
        if said.completion is not None:
            expected["completion_tokens"] = said.completion
    elif said.status != 200:
        expected = {"state": "released", "usage_source": "none", "answered": False}
        expected |= dict.fromkeys(
            ("prompt_tokens", "completion_tokens", "cached_tokens", "reasoning_tokens", "cost"), 0
        )
    else:
        expected = {"state": "settled", "usage_source": "upstream", "answered": True, "ended": "completed"}
        expected |= {"prompt_tokens": said.prompt, "completion_tokens": said.completion}
        expected |= {"cached_tokens": said.cached, "reasoning_tokens": said.reasoning}
    return {name: (row[name], value) for name, value in expected.items() if row[name] != value}
