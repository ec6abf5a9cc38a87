"""What is read of a stream's events, where they have to be read."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatapi.errors import UpstreamBroken
from chatapi.upstream.sse import Event, events_in, read_event


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_events_or_a_broken_upstream(data: bytes) -> None:
    try:
        events = list(events_in(b"data: {" + data + b"\n\n"))
    except UpstreamBroken as error:
        assert error.may_have_run
    else:
        for event in events:
            (event.text + event.counted_text).encode("utf-8")


def test_comments_empty_data_and_other_fields_are_no_events() -> None:
    block = b": ping\n\ndata:\n\nevent: x\n\nretry: 5\n\ndata\n\nnonsense\n\n"
    assert list(events_in(block)) == []


def test_the_lines_of_an_event_are_one_payload() -> None:
    (event, done) = events_in(b': x\ndata: {"id":\nid: 8\ndata:"a"}\n\ndata:[DONE]\n\n')
    assert event.upstream_id == "a"
    assert done == Event()


def test_bad_utf8_becomes_replacement_characters() -> None:
    event = read_event(b'{"choices": [{"delta": {"content": "a\xff"}}]}')
    assert event.text == "a\ufffd"


def test_half_a_surrogate_pair_is_not_counted_as_such() -> None:
    data = rb'{"choices": [{"delta": {"content": "a\ud83d"}}]}'
    event = read_event(data)
    assert event.text == "a\ufffd"


def test_text_is_of_choice_0_and_counted_text_of_everything() -> None:
    called = {"index": 0, "function": {"name": "look", "arguments": '{"up"'}}
    choices = [
        {"index": 0, "delta": {"content": "A", "refusal": "B", "reasoning_content": "C", "reasoning": "C"}},
        {"index": 1, "delta": {"content": [{"type": "text", "text": "D"}], "tool_calls": [called, 7]}},
        {"index": 2, "delta": {"function_call": {"name": "f", "arguments": "()"}, "audio": {"transcript": "E"}}},
        {"index": 0, "delta": None, "finish_reason": "stop"},
        "nonsense",
    ]
    event = read_event(json.dumps({"choices": choices}).encode())
    assert event.text == "AB"
    assert event.counted_text == 'ABCDlook{"up"f()E'
    assert event.began == {0, 1, 2}
    assert event.ended == {0}


@pytest.mark.parametrize("choices", [[], None, "x", {}, [None], [{"index": "x", "delta": []}]])
def test_odd_choices_are_no_crash(choices: object) -> None:
    event = read_event(json.dumps({"choices": choices}).encode())
    assert event.text == event.counted_text == ""
