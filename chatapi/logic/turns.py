"""Turns: calls that are denied only because calls in flight hold the rest wait in line, first come first served."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from chatapi.domain.calls import Decision
from chatapi.domain.limits import Denial, DenialKind
from chatapi.domain.principals import Claims

RETRY_S = 0.1


@dataclass(slots=True)
class Line:
    """Those who wait for one scope, each with the event that tells it that it is first; and what the first was told."""

    places: deque[threading.Event] = field(default_factory=deque)
    denial: Denial | None = None


class Turns:
    """The lines of one process: one for each user, tenant or access token whose limit is held by calls in flight.

    Args:
        wait_s: the longest wait, in seconds.
        most: how many calls may stand in one line.
    """

    def __init__(self, wait_s: float, most: int) -> None:
        self._wait_s = wait_s
        self._most = most
        self._lines: dict[str, Line] = {}
        self._moving = threading.Lock()

    def take(self, claims: Claims, ask: Callable[[], Decision]) -> Decision:
        """Ask for admission, and again every 100 ms while only calls in flight are in the way.

        A newcomer does not overtake: where there is a line for its user or tenant, it asks when its turn has come. When
        the line is full, it is told what the first in it was told.
        """
        scope_id, denial = self._line_before(claims), None
        if scope_id is None:
            decision = ask()
            if not isinstance(decision, Denial) or decision.kind is not DenialKind.HELD:
                return decision
            scope_id, denial = _scope_id(claims, decision), decision
        with self._place(scope_id, denial) as (line, turn):
            if turn is None:
                return line.denial or ask()
            return self._wait(line, turn, ask)

    def _wait(self, line: Line, turn: threading.Event, ask: Callable[[], Decision]) -> Decision:
        give_up_at = time.monotonic() + self._wait_s
        while (left_s := give_up_at - time.monotonic()) > 0:
            if not turn.wait(left_s):
                break
            decision = ask()
            if not isinstance(decision, Denial) or decision.kind is not DenialKind.HELD:
                return decision
            line.denial = decision
            time.sleep(min(RETRY_S, max(0.0, give_up_at - time.monotonic())))
        return ask()

    def _line_before(self, claims: Claims) -> str | None:
        return next((id_ for id_ in (claims.jti, claims.user_id, claims.tenant_id) if id_ in self._lines), None)

    @contextmanager
    def _place(self, scope_id: str, denial: Denial | None) -> Iterator[tuple[Line, threading.Event | None]]:
        """A place at the end of a line, and the event of its turn; None when the line is full."""
        with self._moving:
            line = self._lines.setdefault(scope_id, Line())
            line.denial = denial or line.denial
            turn = threading.Event() if len(line.places) < self._most else None
            if turn is not None:
                line.places.append(turn)
                line.places[0].set()
        try:
            yield line, turn
        finally:
            with self._moving:
                if turn is not None:
                    line.places.remove(turn)
                if line.places:
                    line.places[0].set()
                elif self._lines.get(scope_id) is line:
                    del self._lines[scope_id]


def _scope_id(claims: Claims, denial: Denial) -> str:
    return {"access_token": claims.jti, "user": claims.user_id, "tenant": claims.tenant_id}[denial.standing.limit.scope]
