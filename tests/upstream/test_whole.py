"""Whole replies: what they say of what they used."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest

from chatapi.domain.extras import Extras
from chatapi.errors import UpstreamBroken
from chatapi.upstream.parcel import Parcel
from chatapi.upstream.reply import UpstreamReply
from tests.upstream.servers import response, serving, upstream_at


def reply_to(path: str, body: Mapping[str, object]) -> UpstreamReply:
    """What the relay makes of this reply of an upstream."""
    answer = response(200, json.dumps(body).encode())
    with serving(lambda connection, _: connection.sendall(answer)) as server, upstream_at(server.base_url) as calls:
        return calls.upstream.relay(Parcel(path, "m", b"{}"), call_id="c")


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ({"usage": {"type": "duration", "seconds": 9}}, 9),
        ({"duration": 8.47}, 9),
        ({"duration": 8.47, "usage": {"type": "duration", "seconds": 7}}, 7),
        ({"duration": "long"}, 0),
        ({"duration": -1}, 0),
        ({"usage": {"type": "duration", "seconds": 10**9}}, 0),
        ({}, 0),
    ],
    ids=str,
)
def test_a_transcription_says_how_long_it_lasts(said: dict[str, object], seconds: int) -> None:
    reply = reply_to("/v1/audio/transcriptions", {"text": "Hi.", **said})
    assert (reply.usage, reply.extras, reply.counted_text) == (None, Extras(seconds=seconds), "Hi.")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/embeddings", {"object": "list"}),
        ("/v1/moderations", {"results": None}),
        ("/v1/responses", {"output": "text"}),
        ("/v1/images/generations", {}),
        ("/v1/audio/translations", {"text": None}),
        ("/v1/completions", {"choices": []}),
        ("/v1/embeddings", {"data": [], "error": {"message": "no"}}),
    ],
    ids=str,
)
def test_what_is_no_reply_of_its_endpoint_is_no_answer(path: str, body: Mapping[str, object]) -> None:
    with pytest.raises(UpstreamBroken):
        reply_to(path, body)


def test_a_response_that_failed_is_relayed_with_its_usage() -> None:
    used = {"input_tokens": 3, "output_tokens": 0}
    body = {"object": "response", "status": "failed", "error": {"code": "x"}, "output": [], "usage": used}
    reply = reply_to("/v1/responses", body)
    assert json.loads(reply.body) == body
    assert reply.usage is not None and reply.usage.total_tokens == 3
