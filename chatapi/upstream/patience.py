"""How long an upstream may be silent: it changes in the middle of an answer, and ends at the call's deadline."""

from __future__ import annotations

import time
from dataclasses import dataclass

LEAST_WAIT_S = 0.001  # a timeout of 0 would mean a non-blocking socket


@dataclass(slots=True)
class Patience:
    """How long reads of one answer may block: `read_timeout_s` each, none beyond `deadline_at` (`time.monotonic()`)."""

    read_timeout_s: float
    deadline_at: float

    def next_timeout_s(self) -> float:
        """The longest that the next read may block, in seconds."""
        return max(LEAST_WAIT_S, min(self.read_timeout_s, self.deadline_at - time.monotonic()))
