"""Streams whose events say their type: what comes out is what went in, however the network cuts it."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from chatapi.domain.usage import Usage, UsageSource
from chatapi.upstream.typed_events import TypedScanner, read_typed_event

USED = {"input_tokens": 5, "output_tokens": 3, "output_tokens_details": {"reasoning_tokens": 1}}
REPORTED = Usage(5, 0, 3, 1, UsageSource.UPSTREAM)


def event(kind: str, **more: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **more})}\n\n".encode()


def deltas(texts: list[str]) -> list[bytes]:
    return [event("response.output_text.delta", delta=text) for text in texts]


def fed(scanner: TypedScanner, data: bytes, cuts: list[int]) -> bytes:
    places = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return b"".join(scanner.feed(data[a:b]) for a, b in pairwise(places) if not scanner.over)


@given(st.lists(st.text(max_size=20), max_size=6), st.lists(st.integers(0, 5000), max_size=8))
def test_events_pass_to_the_byte_however_they_are_cut(texts: list[str], cuts: list[int]) -> None:
    data = b"".join([event("response.created", response={"id": "r", "usage": None, "error": None}), *deltas(texts)])
    data += event("response.completed", response={"id": "r", "usage": USED})
    scanner = TypedScanner()
    assert fed(scanner, data + b"event: after\ndata: {}\n\n", cuts) == data
    assert scanner.done
    assert scanner.usage() == REPORTED


def test_what_a_model_says_ends_no_stream() -> None:
    said = '"type":"response.completed" {"type": "error"}'
    scanner = TypedScanner()
    data = b"".join(deltas([said, "event: error\ndata: {}\n\n"]))
    assert scanner.feed(data) == data
    assert not scanner.over


def test_an_object_inside_an_event_ends_no_stream() -> None:
    scanner = TypedScanner()
    data = event("response.output_item.added", item={"type": "error", "error": {"message": "no"}})
    assert scanner.feed(data) == data
    assert not scanner.over


def test_the_usage_of_several_images_is_added_up_and_the_stream_may_end_after_any() -> None:
    scanner = TypedScanner()
    assert not scanner.may_end
    data = event("image_generation.completed", usage=USED) * 3
    assert scanner.feed(data) == data
    assert scanner.may_end and not scanner.done
    assert scanner.usage() == Usage(15, 0, 9, 3, UsageSource.UPSTREAM)
    scanner.feed(event("image_generation.completed"))
    assert scanner.usage() is None


def test_an_error_ends_the_stream_and_is_not_relayed() -> None:
    for data in (
        b'event: error\ndata: {"message": "no"}\n\n',
        b'data: {"type":"error","message":"no"}\n\n',
        b'data: {"error":{"message":"no"}}\n\n',
        b'event:error\ndata:{"type":"error","error":{"message":"no"}}\n\n',
    ):
        scanner = TypedScanner()
        assert scanner.feed(deltas(["a"])[0] + data) == deltas(["a"])[0]
        assert scanner.error is not None and scanner.error["message"] == "no"


def test_produced_text_is_that_of_deltas_and_names_of_functions() -> None:
    assert read_typed_event(b'{"type": "response.output_text.delta", "delta": "a"}').counted_text == "a"
    added = b'{"type": "response.output_item.added", "item": {"type": "function_call", "name": "look"}}'
    assert read_typed_event(added).counted_text == "look"
    assert read_typed_event(b'{"type": "response.output_text.done", "text": "a"}').counted_text == ""
    assert read_typed_event(b'{"type": "response.created", "response": {"id": "r"}}').upstream_id == "r"
