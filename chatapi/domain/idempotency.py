"""Idempotency keys: by which a client names a request that it may send again, and what a repeat is told.

Source of the rules: the IETF draft "The Idempotency-Key HTTP Header Field", which leaves open how long a key is kept.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

KEPT_FOR = timedelta(hours=24)
"""How long a key is taken, from the admission of its call on."""
COMPLETED = "completed"
"""How a call ended that was answered whole. Only such a call keeps its key when it has ended."""


class IdempotencyKey(NamedTuple):
    """A key as the ledger knows it, and what the request was: digests that need the installation's secret."""

    digest: str
    request_digest: str


class RepeatKind(StrEnum):
    """What a request is that names a key which is taken."""

    OTHER_REQUEST = "other_request"  # it is no repeat at all
    RUNNING = "running"
    ANSWERED = "answered"
    NOT_KEPT = "not_kept"  # answered, but the reply is not there to be given again


WHY = {
    RepeatKind.OTHER_REQUEST: "This Idempotency-Key was used with another request. Use a new key for a new request.",
    RepeatKind.RUNNING: "The first request with this Idempotency-Key is still running. Try again when it has ended.",
    RepeatKind.ANSWERED: "The first request with this Idempotency-Key was answered.",
    RepeatKind.NOT_KEPT: "The first request with this Idempotency-Key was answered and charged, but its reply was not "
    "kept: it was too large, or the database was away. Use a new key to ask again.",
}


class Repeat(NamedTuple):
    """A request that is not admitted, because its key is taken by an earlier call."""

    kind: RepeatKind
    call_id: str
    free_after_s: int
    """Whole seconds until the key expires."""

    def explain(self) -> str:
        """Why it is not admitted, and what to do."""
        return WHY[self.kind]

    @property
    def retry_after_s(self) -> int | None:
        """Whole seconds after which it is worth trying again; None where it never is."""
        if self.kind is RepeatKind.OTHER_REQUEST:
            return None
        return self.free_after_s if self.kind is RepeatKind.NOT_KEPT else 1


class Taken(NamedTuple):
    """A key in the ledger.

    Args:
        request_digest: of the request that took it.
        call_id: of that request's call.
        expires_at: when it is free whatever became of the call.
        kept: whether the reply is kept.
        running: whether the call is held.
        completed: whether it has ended, answered whole.
    """

    request_digest: str
    call_id: str
    expires_at: datetime
    kept: bool
    running: bool
    completed: bool

    def repeated_by(self, key: IdempotencyKey, now: datetime) -> Repeat | None:
        """What a request with this key is; None when the key is free.

        A call that was released, cut off or broken off, or whose worker died, has freed its key by that: asking again
        is what the client may want. A reply that was kept before its call's worker died stands all the same.
        """
        if self.expires_at <= now or not (self.kept or self.running or self.completed):
            return None
        if self.request_digest != key.request_digest:
            kind = RepeatKind.OTHER_REQUEST
        elif self.kept:
            kind = RepeatKind.ANSWERED
        else:
            kind = RepeatKind.RUNNING if self.running else RepeatKind.NOT_KEPT
        return Repeat(kind, self.call_id, max(1, round((self.expires_at - now).total_seconds())))
