"""bench.mixed_calls in short: five calls of every kind are reconciled, and a charge that is wrong is found."""

from __future__ import annotations

import asyncio
from pathlib import Path

from sqlalchemy import create_engine, text

from bench._mixed_plan import KINDS, plan
from bench.emulator.process import Emulator
from bench.mixed_calls import Drive, judge
from tests.support.gateway import MakeGateway

CALLS_OF_A_KIND = 5
SEED = 20260101


def test_mixed_calls_are_charged_what_the_upstream_logged(
    make_gateway: MakeGateway, sqlite_url: str, tmp_path: Path
) -> None:
    with Emulator(tmp_path / "served.jsonl") as emulator:
        gateway = make_gateway(sqlite_url, upstream_url=emulator.url, start=False)
        gateway.start_with_users()
        limited = gateway.users.take("tokens")
        drive = Drive(gateway.base_url, [gateway.somebody], gateway.token(limited))
        seen = asyncio.run(drive.run(plan(CALLS_OF_A_KIND * len(KINDS), SEED), in_flight=32, seconds=60))
        assert len(seen) == CALLS_OF_A_KIND * len(KINDS)
        assert judge(gateway, emulator, seen, limited.tenant) == []
        with create_engine(sqlite_url).begin() as connection:
            one = "(SELECT id FROM calls WHERE usage_source = :source ORDER BY id LIMIT 1)"
            for source in ("upstream", "counted"):
                statement = text(f"UPDATE calls SET completion_tokens = completion_tokens + 1 WHERE id = {one}")
                connection.execute(statement, {"source": source})
        problems = judge(gateway, emulator, seen, limited.tenant)
        assert len([problem for problem in problems if problem.startswith("call-")]) == 2
        assert "the sums of completion_tokens differ" in problems
        assert any("chatapi audit" in problem for problem in problems)
