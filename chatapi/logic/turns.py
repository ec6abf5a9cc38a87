"""Turns: calls that are denied only because calls in flight hold the rest wait in line, first come first served."""

from __future__ import annotations

import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from chatapi.domain.calls import Decision
from chatapi.domain.limits import Denial, DenialKind
from chatapi.domain.principals import Claims

RETRY_S = 0.1


class Turns:
    """The lines of one process: one for each user, tenant or access token whose limit is held by calls in flight.

    Args:
        wait_s: the longest wait, in seconds.
        most: how many calls may stand in one line.
    """

    def __init__(self, wait_s: float, most: int) -> None:
        self._wait_s = wait_s
        self._most = most
        self._lines: dict[str, deque[object]] = defaultdict(deque)
        self._moving = threading.Lock()

    def take(self, claims: Claims, ask: Callable[[], Decision]) -> Decision:
        """Ask for admission, and again every 100 ms while only calls in flight are in the way.

        A newcomer does not overtake: where there is a line for its user or tenant, it asks when its turn has come.
        """
        give_up_at = time.monotonic() + self._wait_s
        behind = self._line_before(claims)
        decision: Decision | None = None
        if behind is None:
            decision = ask()
            if not _held(decision):
                return decision
            behind = _scope_id(claims, decision)
        with self._place(behind) as (line, place):
            while line is not None and time.monotonic() < give_up_at:
                if line[0] is place:
                    decision = ask()
                    if not _held(decision):
                        return decision
                time.sleep(RETRY_S)
        return decision if decision is not None else ask()

    def _line_before(self, claims: Claims) -> str | None:
        ids = (claims.jti, claims.user_id, claims.tenant_id)
        return next((scope_id for scope_id in ids if self._lines.get(scope_id)), None)

    @contextmanager
    def _place(self, scope_id: str) -> Iterator[tuple[deque[object] | None, object]]:
        place = object()
        with self._moving:
            line = self._lines[scope_id]
            full = len(line) >= self._most
            if not full:
                line.append(place)
        try:
            yield None if full else line, place
        finally:
            with self._moving:
                if not full:
                    line.remove(place)
                if not line:
                    self._lines.pop(scope_id, None)


def _held(decision: Decision) -> bool:
    return isinstance(decision, Denial) and decision.kind is DenialKind.HELD


def _scope_id(claims: Claims, decision: Decision) -> str:
    assert isinstance(decision, Denial)
    scope = decision.standing.limit.scope
    return {"access_token": claims.jti, "user": claims.user_id, "tenant": claims.tenant_id}[scope]
