"""Replies that are kept for repeats: collected while they are relayed, sealed, written before their call is settled.

In this order a crash costs a client nothing twice: a reply that is kept is given again, be its call settled or not; one
that could not be kept is not asked for again under its key, once its call is settled as answered.
"""

from __future__ import annotations

import time

import orjson
import structlog

from chatapi.domain.calls import HeldCall
from chatapi.domain.idempotency import IdempotencyKey
from chatapi.errors import Unavailable
from chatapi.logic.runtime import Runtime
from chatapi.logic.sealing import seal, unseal
from chatapi.storage import idempotency

FORGETTING_S = 0.5  # in one round of keeping

log = structlog.get_logger()


class ReplyKeeper:
    """Keeps the reply of one call whose client gave an idempotency key, unless it is too large."""

    def __init__(self, runtime: Runtime, call: HeldCall, key: IdempotencyKey) -> None:
        self._runtime = runtime
        self._call = call
        self._key = key
        self._body: bytearray | None = bytearray()

    def add(self, block: bytes) -> None:
        """The next bytes of the reply."""
        if self._body is None:
            return
        if len(self._body) + len(block) > self._runtime.settings.idempotency_bytes:
            self._body = None
        else:
            self._body += block

    def keep(self, last: bytes, content_type: str, clamped: int | None) -> None:
        """The reply is whole with these last bytes: write it. Whatever fails, the call goes on.

        Args:
            last: bytes that were not added yet.
            content_type: of the reply.
            clamped: the completion cap, where a limit made it shorter than what was asked for.
        """
        self.add(last)
        if self._body is None:
            return
        content = orjson.dumps([content_type, clamped]) + b"\n" + self._body
        try:
            sealed = seal(self._runtime.settings.secret, self._call.call_id, content)
            idempotency.keep(self._runtime.database, self._call, self._key, sealed)
        except Exception as error:  # the call must be settled whatever becomes of this
            log.warning("reply_not_kept", call=self._call.call_id, error=type(error).__qualname__)


def opened(runtime: Runtime, call_id: str, sealed: bytes) -> tuple[bytes, str, int | None] | None:
    """The body of a kept reply, its media type and the cap of its completion; None when it cannot be opened."""
    content = unseal(runtime.settings.secret, call_id, sealed)
    if content is None:
        return None
    head, _, body = content.partition(b"\n")
    content_type, clamped = orjson.loads(head)
    return body, content_type, clamped


def forget_expired(runtime: Runtime) -> int:
    """Delete keys that have expired, with their replies. Returns how many; when the database is busy it is some."""
    give_up_at, forgotten, more = time.monotonic() + FORGETTING_S, 0, True
    while more and time.monotonic() < give_up_at:
        try:
            deleted = idempotency.forget(runtime.database)
        except Unavailable:
            break
        forgotten += deleted
        more = deleted == idempotency.FORGOTTEN_AT_ONCE
    return forgotten
