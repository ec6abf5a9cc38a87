"""What the ledger of a gateway says about its calls."""

from __future__ import annotations

import time
from dataclasses import dataclass

from sqlalchemy import select

from chatapi.storage.tables import calls
from tests.concurrency.world import world_of


@dataclass(frozen=True, order=True)
class Ending:
    """How a call ended and what it was charged; of one that is still held, `ended` is empty."""

    state: str
    ended: str
    answered: bool
    source: str
    prompt_tokens: int
    completion_tokens: int

    @property
    def kind(self) -> tuple[str, str, bool, str]:
        """Without the numbers."""
        return self.state, self.ended, self.answered, self.source


def endings(database_url: str) -> list[Ending]:
    """All calls, in the order in which they were admitted."""
    columns = (calls.c.state, calls.c.ended, calls.c.answered, calls.c.usage_source)
    with world_of(database_url) as world, world.database.read() as connection:
        rows = connection.execute(
            select(*columns, calls.c.prompt_tokens, calls.c.completion_tokens).order_by(calls.c.id)
        )
        return [Ending(row[0], row[1] or "", *row[2:]) for row in rows]


def await_endings(database_url: str, count: int, patience_s: float, *, after: int = 0) -> list[Ending]:
    """Wait until there are `count` calls after the first `after`, none of which is held; those calls."""
    give_up_at = time.monotonic() + patience_s
    while True:
        found = endings(database_url)[after:]
        if len(found) == count and all(call.state != "held" for call in found):
            return found
        assert time.monotonic() < give_up_at, found
        time.sleep(0.05)
