"""The judge of every chaos run: what the upstream logged, what the clients saw, and what the ledger says must agree."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import RowMapping, func, select

from bench.emulator.process import Emulator
from chatapi.storage.tables import calls, counters
from tests.chaos.load_driver import Seen
from tests.concurrency.world import world_of
from tests.support.gateway import Gateway


@dataclass(frozen=True)
class Summary:
    """What a run came to."""

    clients: Mapping[str, int]
    arrived: int
    states: Mapping[str, int]
    drained: int = 0
    """Calls that the gateway cut at the end of its drain, some of them while the last bytes were under way."""

    def __str__(self) -> str:
        asked = ", ".join(f"{count} {what}" for what, count in sorted(self.clients.items()))
        rows = ", ".join(f"{count} {state}" for state, count in sorted(self.states.items()))
        drained = f" ({self.drained} cut by a drain)" if self.drained else ""
        saw = f"clients: {asked}; upstream saw {self.arrived}"
        return f"{saw}; ledger: {rows}{drained}; 0 missing, 0 charged twice, 0 held"


def ever_expired(database_url: str) -> int:
    """How many calls were taken for a dead worker's at any time, also those whose truth came later."""
    return sum(row["expired_at"] is not None for row in _rows(database_url).values())


def await_truth(database_url: str, patience_s: float = 20.0) -> None:
    """Wait until nothing is held, and the truth about every call that has expired has come: what is owed is written."""
    await_none_held(database_url, patience_s)
    give_up_at = time.monotonic() + patience_s
    while expired := [call for call, row in _rows(database_url).items() if row["state"] == "expired"]:
        assert time.monotonic() < give_up_at, f"still expired {patience_s} s after the end: {expired}"
        time.sleep(0.2)


def await_none_held(database_url: str, patience_s: float = 20.0) -> None:
    """Wait until no call and no counter holds anything."""
    give_up_at = time.monotonic() + patience_s
    while found := held(database_url):
        assert time.monotonic() < give_up_at, f"still held {patience_s} s after the end (calls, in counters): {found}"
        time.sleep(0.2)


def reconcile(gateway: Gateway, emulator: Emulator, seen: Iterable[Seen], *, nobody_died: bool = False) -> Summary:
    """Compare the three, once nothing is held any more.

    Args:
        nobody_died: no process of the gateway was killed, so the truth about every call must be in the ledger.

    Raises:
        AssertionError: naming the calls that do not agree.
    """
    rows, ended = _rows(gateway.database_url), emulator.ended()
    arrived, seen = emulator.arrived(), list(seen)
    problems: list[str] = []

    def judge(what: str, culprits: Iterable[object]) -> None:
        found = list(culprits)
        if found:
            problems.append(f"{len(found)} {what}: {found[:5]}")

    ids = [entry["call"] for entry in arrived]
    judge("calls that the upstream saw have no row", [call for call in ids if call not in rows])
    judge("calls were sent upstream twice", [call for call, count in Counter(ids).items() if count > 1])
    known = [(entry, ended.get(entry["id"]), rows[entry["call"]]) for entry in arrived if entry["call"] in rows]
    judge("calls are still held", [row["id"] for row in rows.values() if row["state"] == "held"])
    judge(
        "calls that the upstream may have answered were free",
        [row["id"] for _, end, row in known if row["state"] == "released" and (end is None or end["how"] != "fault")],
    )
    judge("calls do not agree with what the upstream reported", _disagreeing(known))
    by_reply = {entry["id"]: entry["call"] for entry in arrived}
    judge(
        "calls that a client got whole are not settled as the upstream reported",
        [
            by_reply.get(one.id or "", one.id)
            for one in seen
            if one.whole and not _settled_as_reported(rows.get(by_reply.get(one.id or "", "")))
        ],
    )
    if nobody_died:
        judge("calls expired in the end", [row["id"] for row in rows.values() if row["state"] == "expired"])
        served = [row for _, end, row in known if end and _was_reported(end) and not _settled_as_reported(row)]
        lost = [row["id"] for row in served if not _cut_by_a_drain(row)]
        judge("calls that were served whole are not settled as the upstream reported", lost)
    judge("counters hold something", [held(gateway.database_url)] if any(held(gateway.database_url) or ()) else [])
    audit = gateway.run("audit", "--json")
    judge("findings of chatapi audit", json.loads(audit.stdout) if audit.returncode else [])
    assert not problems, "\n".join(problems)
    drained = sum(map(_cut_by_a_drain, rows.values()))
    states = Counter(str(row["state"]) for row in rows.values())
    return Summary(Counter(_how(one) for one in seen), len(arrived), states, drained)


def _was_reported(end: dict[str, Any]) -> bool:
    return end["how"] == "served" and end["completion_tokens"] is not None


def _how(one: Seen) -> str:
    if one.whole:
        return "whole"
    return "cut off" if one.status in (None, 200) else f"refused with {one.status}"


def _disagreeing(known: Iterable[tuple[dict[str, Any], dict[str, Any] | None, RowMapping]]) -> list[object]:
    """Calls that are settled as reported, but with other figures; or charged by a figure that nobody reported."""
    wrong: list[object] = []
    for arrival, end, row in known:
        if row["usage_source"] == "upstream":
            reported = (arrival["prompt_tokens"], end and end["completion_tokens"])
            charged = (row["prompt_tokens"], row["completion_tokens"])
            if reported != charged:
                wrong.append((row["id"], "reported", reported, "charged", charged))
        elif row["state"] == "expired" and row["completion_tokens"] != row["completion_granted"]:
            wrong.append((row["id"], "not charged at its hold"))
    return wrong


def _settled_as_reported(row: RowMapping | None) -> bool:
    return row is not None and row["state"] == "settled" and row["usage_source"] == "upstream"


def _cut_by_a_drain(row: RowMapping) -> bool:
    """Whether the gateway gave it up at the end of its drain: it is charged for what was relayed, or at its hold."""
    return row["state"] == "settled" and row["ended"] == "shutdown" and row["usage_source"] in {"counted", "hold"}


def _rows(database_url: str) -> dict[str, RowMapping]:
    with world_of(database_url) as world, world.database.read() as connection:
        return {str(row["id"]): row for row in connection.execute(select(calls)).mappings()}


def held(database_url: str) -> tuple[int, int] | None:
    """How many calls are held, and how much counters hold; None when nothing is."""
    with world_of(database_url) as world, world.database.read() as connection:
        of_calls = connection.execute(select(func.count()).select_from(calls).where(calls.c.state == "held")).scalar()
        total = func.sum(counters.c.requests_held + counters.c.tokens_held + counters.c.cost_held)
        in_counters = connection.execute(select(func.coalesce(total, 0))).scalar()
    held = (int(of_calls or 0), int(in_counters or 0))
    return held if any(held) else None
