"""The table of how upstreams are asked and their replies read: one form for each endpoint.

What is asked, and how a request is bounded, says `domain.endpoints`, which names the same endpoints.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from chatapi.upstream.produced import produced_by_choices, produced_by_output, text_of
from chatapi.upstream.reply import Produced


class Streaming(Enum):
    """What a streamed reply consists of."""

    NEVER = auto()
    CHOICES = auto()  # events with choices, ended by [DONE]
    TYPED = auto()  # events that say their type, the last of them by that
    BYTES = auto()  # no events: what comes is relayed as it comes


@dataclass(frozen=True, slots=True)
class Form:
    """How one endpoint is asked and its reply read.

    Args:
        path: below the upstream's base address.
        must_have: the field that a reply in JSON must have, if any.
        kind: the type of that field.
        produced: reads what the model produced out of a reply in JSON.
        completes: whether a report of usage must name a completion.
        streaming: what its streams consist of.
        keeps: whether what was streamed is kept for counting.
        texts: whether a reply may be plain text instead of JSON.
        may_be_whole: whether a model may answer whole though a stream was asked for.
        as_text: whether the reply, a chat completion, is made a completion.
    """

    path: str
    must_have: str | None = None
    kind: type[object] = list
    produced: Produced = lambda _reply: ""
    completes: bool = True
    streaming: Streaming = Streaming.NEVER
    keeps: bool = True
    texts: bool = False
    may_be_whole: bool = False
    as_text: bool = False


FORMS: dict[str, Form] = {
    "/v1/chat/completions": Form(
        "/chat/completions", "choices", produced=produced_by_choices, streaming=Streaming.CHOICES
    ),
    "/v1/completions": Form("/completions", "choices", produced=produced_by_choices, streaming=Streaming.CHOICES),
    "/v1/completions over chat": Form(
        "/chat/completions", "choices", produced=produced_by_choices, streaming=Streaming.CHOICES, as_text=True
    ),
    "/v1/responses": Form("/responses", "output", produced=produced_by_output, streaming=Streaming.TYPED),
    "/v1/embeddings": Form("/embeddings", "data", completes=False),
    "/v1/moderations": Form("/moderations", "results", completes=False),
    "/v1/images/generations": Form(
        "/images/generations", "data", streaming=Streaming.TYPED, keeps=False, may_be_whole=True
    ),
    "/v1/images/edits": Form("/images/edits", "data", streaming=Streaming.TYPED, keeps=False, may_be_whole=True),
    "/v1/audio/speech": Form("/audio/speech", streaming=Streaming.BYTES, keeps=False),
    "/v1/audio/transcriptions": Form(
        "/audio/transcriptions", "text", str, text_of, streaming=Streaming.TYPED, texts=True, may_be_whole=True
    ),
    "/v1/audio/translations": Form("/audio/translations", "text", str, text_of, texts=True),
}
