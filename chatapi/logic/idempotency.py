"""Requests that are sent again: the same user's same request under the same key is answered once, and charged once.

The ledger decides which of them is the first, in its admission. Whoever comes later gets the first one's reply, and
waits for it a while.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import orjson

from chatapi.domain.idempotency import IdempotencyKey, Repeat, RepeatKind
from chatapi.domain.limits import Standing
from chatapi.domain.model_request import ModelRequest
from chatapi.errors import InvalidRequest, KeyTaken, QuotaDenied, Unavailable, UpstreamResting
from chatapi.logic.admission import Ask
from chatapi.logic.kept_replies import opened
from chatapi.logic.runtime import Runtime
from chatapi.logic.sealing import digester
from chatapi.logic.standings import standings
from chatapi.storage.idempotency import find

LOOK_EVERY_S = 0.1  # at first; a tenth more each time
LONGEST_PAUSE_S = 0.5
PIECE_BYTES = 1024 * 1024  # of a file, after which others have their turn

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Replay:
    """A reply that is given again: its bytes and media type, whose it was, and how the limits stand now."""

    body: bytes
    content_type: str
    clamped: int | None
    call_id: str
    standings: list[Standing]


def key_of(runtime: Runtime, given: str, path: str, asked: ModelRequest) -> IdempotencyKey:
    """What the ledger knows a key by, and the request that it names.

    Two requests are the same when they ask the same endpoint for the same: their JSON may be written in another order,
    and a form's boundary may be another one.

    Args:
        runtime: what to work with.
        given: the key as the client gave it.
        path: of the endpoint.
        asked: the request.
    """
    key, request = digester(runtime.settings.secret), digester(runtime.settings.secret)
    key.update(b"key\n" + given.encode())
    request.update(b"request\n" + orjson.dumps([path, asked.body], option=orjson.OPT_SORT_KEYS))
    for file in asked.files:
        request.update(orjson.dumps([file.field, file.filename, file.content_type, file.size]))
        file.content.seek(0)
        while piece := file.content.read(PIECE_BYTES):
            request.update(piece)
            time.sleep(0)
    return IdempotencyKey(key.hexdigest(), request.hexdigest())


def once(runtime: Runtime, ask: Ask, make: Callable[[], T]) -> T | Replay:
    """Make a call, unless one with its key has been made: then its reply is given again.

    Args:
        runtime: what to work with.
        ask: the call.
        make: admits and makes it.

    Raises:
        KeyTaken: another request has the key; or the same one runs for longer than one may wait, or was answered, and
            its reply is not there any more.
        Exception: as `make`. Of a repeat that would be denied only what has been answered is given again.
    """
    if ask.key is None:
        return make()
    give_up_at = time.monotonic() + runtime.settings.idempotency_wait_s
    while True:
        try:
            return make()
        except KeyTaken:
            with runtime.repeats.place(ask.claims.user_id) as may_wait:
                replay = _await_reply(runtime, ask, ask.key, give_up_at if may_wait else 0.0)
        except (QuotaDenied, UpstreamResting):
            repeat, sealed = _look(runtime, ask, ask.key)
            if repeat is None or repeat.kind is not RepeatKind.ANSWERED:
                raise
            replay = _replay(runtime, ask, repeat, sealed)
        if replay is not None:
            return replay


def _await_reply(runtime: Runtime, ask: Ask, key: IdempotencyKey, give_up_at: float) -> Replay | None:
    """The reply, when it is there; None when the key is free again."""
    pause_s = LOOK_EVERY_S
    while True:
        repeat, sealed = _look(runtime, ask, key)
        if repeat is None:
            return None
        if repeat.kind is RepeatKind.ANSWERED:
            return _replay(runtime, ask, repeat, sealed)
        left_s = give_up_at - time.monotonic()
        if repeat.kind is not RepeatKind.RUNNING or left_s <= 0:
            raise KeyTaken(repeat)
        time.sleep(min(pause_s, left_s))
        pause_s = min(pause_s * 1.1, LONGEST_PAUSE_S)
        if ask.client is not None and ask.client.gone:
            raise InvalidRequest("The client left before its request was answered", status=499)
        if runtime.running.draining:
            raise Unavailable("This worker is shutting down. Please try again.", retry_after_s=1)


def _look(runtime: Runtime, ask: Ask, key: IdempotencyKey) -> tuple[Repeat | None, bytes | None]:
    with runtime.database.read() as connection:
        found = find(connection, ask.claims, key)
        if found is None:
            return None, None
        return found[0].repeated_by(key, runtime.database.now(connection)), found[1]


def _replay(runtime: Runtime, ask: Ask, repeat: Repeat, sealed: bytes | None) -> Replay:
    """The reply, for who may have it still."""
    stand = standings(runtime, ask.claims)
    reply = opened(runtime, repeat.call_id, sealed or b"")
    if reply is None:
        raise KeyTaken(repeat._replace(kind=RepeatKind.NOT_KEPT))
    return Replay(*reply, repeat.call_id, stand)
