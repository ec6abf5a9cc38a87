"""The one way from a route to a model. A view says which endpoint of the table it stands for; without that, there is
no call.

Nothing else in this package runs calls; tests hold both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

from flask import current_app, request

from chatapi.domain.endpoints import Endpoint
from chatapi.domain.model_request import ModelRequest
from chatapi.endpoint.answers import hold_back
from chatapi.endpoint.context import client, note_call, runtime
from chatapi.endpoint.idempotency import given_key
from chatapi.endpoint.policy import claims
from chatapi.logic import calls
from chatapi.logic.calls import Answer
from chatapi.logic.idempotency import Replay, key_of, once
from chatapi.logic.streams import MeteredStream

STANDS_FOR = "chatapi_endpoint"

View = TypeVar("View", bound=Callable[..., Any])


def stands_for(endpoint: Endpoint) -> Callable[[View], View]:
    """Say which endpoint of the table a view asks models through."""

    def mark(view: View) -> View:
        setattr(view, STANDS_FOR, endpoint)
        return view

    return mark


def run(asked: ModelRequest, *, relayed: bool = False) -> Answer:
    """Answer a call, whole; `relayed` as in `logic.calls`, which says what it raises. The reply will wait until it is
    settled.

    Raises:
        RuntimeError: the view stands for no endpoint: a fault of this program.
    """
    answer = calls.run(runtime(), _ask(asked), relayed=relayed)
    hold_back(answer.settling)
    note_call(answer)
    return answer


def open_stream(asked: ModelRequest, *, relayed: bool = False) -> MeteredStream:
    """Open a call's stream; as above."""
    stream = calls.open_stream(runtime(), _ask(asked), relayed=relayed)
    note_call(stream)
    return stream


def relay(asked: ModelRequest) -> Answer | MeteredStream | Replay:
    """Relay a call, whole or as its stream comes; give the reply again to a request that repeats one by its key."""
    ask, given = _ask(asked), given_key()
    if given is not None:
        ask = replace(ask, key=key_of(runtime(), given, ask.endpoint, asked))
    make: Callable[..., Answer | MeteredStream] = calls.open_stream if asked.stream else calls.run
    served = once(runtime(), ask, lambda: make(runtime(), ask, relayed=True))
    if isinstance(served, Answer):
        hold_back(served.settling)
    note_call(served)
    return served


def _ask(asked: ModelRequest) -> calls.Ask:
    rule = request.url_rule
    view = None if rule is None else current_app.view_functions[rule.endpoint]
    if rule is None or not hasattr(view, STANDS_FOR):
        raise RuntimeError("a route that stands for no endpoint has asked a model")
    return calls.Ask(claims(), rule.rule, asked, client())
