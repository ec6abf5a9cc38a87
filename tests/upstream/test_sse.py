"""Server-sent events, however the network cuts them."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatapi.errors import UpstreamBroken
from chatapi.upstream.sse import Event, Splitter, read_event

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


def encode(text: str, ending: str, *, cut_in_two: bool, comment: bool, spaced: bool) -> bytes:
    payload = json.dumps({"choices": [{"index": 0, "delta": {"content": text}}]}, ensure_ascii=False)
    colon = "data: " if spaced else "data:"
    # JSON may be broken over lines only between tokens; behind the first brace is such a place.
    lines = [colon + payload[:1], colon + payload[1:]] if cut_in_two else [colon + payload]
    if comment:
        lines.insert(0, ": ping")
        lines.append("id: 7")
    return (ending.join(lines) + ending * 2).encode()


@st.composite
def streams(draw: st.DrawFn) -> tuple[list[str], bytes]:
    texts = draw(st.lists(TEXTS, max_size=6))
    ending = draw(st.sampled_from(["\n", "\r\n", "\r"]))
    flags = st.fixed_dictionaries({name: st.booleans() for name in ("cut_in_two", "comment", "spaced")})
    data = b"".join(encode(text, ending, **draw(flags)) for text in texts)
    done = f"data: [DONE]{ending}{ending}".encode()
    return texts, draw(st.sampled_from([b"", b"\xef\xbb\xbf"])) + data + done


def feed(splitter: Splitter, data: bytes, cuts: list[int]) -> list[Event]:
    places = sorted({cut % (len(data) + 1) for cut in cuts} | {0, len(data)})
    pieces = [data[start:end] for start, end in pairwise(places)]
    return [event for piece in [*pieces, b""] for event in splitter.feed(piece)] + splitter.end()


@settings(deadline=None)
@given(streams(), st.lists(st.integers(min_value=0), max_size=12))
def test_any_cuts_give_the_same_events(stream: tuple[list[str], bytes], cuts: list[int]) -> None:
    texts, data = stream
    events = feed(Splitter(), data, cuts)
    assert [event.text for event in events] == [*texts, ""]
    assert [event.done for event in events] == [False] * len(texts) + [True]


@settings(deadline=None)
@given(streams())
def test_one_byte_at_a_time_gives_the_same_events(stream: tuple[list[str], bytes]) -> None:
    texts, data = stream
    assert [event.text for event in feed(Splitter(), data, list(range(len(data))))] == [*texts, ""]


@settings(deadline=None)
@given(st.binary(max_size=200), st.lists(st.integers(min_value=0), max_size=5))
def test_any_bytes_end_in_events_or_in_a_broken_upstream(data: bytes, cuts: list[int]) -> None:
    try:
        events = feed(Splitter(), b"data: {" + data + b"\n\n", cuts)
    except UpstreamBroken as error:
        assert error.may_have_run
    else:
        for event in events:
            event.data.decode("utf-8")
            (event.text + event.counted_text).encode("utf-8")


def test_an_event_may_lack_its_last_blank_line() -> None:
    splitter = Splitter()
    assert splitter.feed(b"data: [DONE]") == []
    assert [event.done for event in splitter.end()] == [True]


def test_half_an_event_at_the_end_is_no_event() -> None:
    splitter = Splitter()
    assert splitter.feed(b'data: {"choices": [') == []
    assert splitter.end() == []


def test_comments_empty_data_and_other_fields_are_no_events() -> None:
    assert Splitter().feed(b": ping\n\ndata:\n\nevent: x\n\nretry: 5\n\ndata\n\nnonsense\n\n\n\n") == []


@pytest.mark.parametrize("data", [b"data: " + b"x" * 2000, b"data: x\n" * 300, b": " + b"x" * 2000])
@pytest.mark.parametrize("size", [1, 64, 5000])
def test_a_giant_event_is_refused_before_it_fills_the_memory(data: bytes, size: int) -> None:
    splitter = Splitter(largest_event_bytes=1000)
    with pytest.raises(UpstreamBroken, match="too large"):
        for start in range(0, len(data), size):
            splitter.feed(data[start : start + size])


def test_many_events_in_one_chunk_are_not_one_giant_event() -> None:
    assert len(Splitter(largest_event_bytes=100).feed(b'data: {"choices": []}\n\n' * 1000)) == 1000


def test_bad_utf8_becomes_replacement_characters() -> None:
    event = read_event(b'{"choices": [{"delta": {"content": "a\xff"}}]}')
    assert event.text == "a\ufffd"
    assert event.data.decode("utf-8")


def test_half_a_surrogate_pair_is_passed_on_but_not_counted_as_such() -> None:
    data = rb'{"choices": [{"delta": {"content": "a\ud83d"}}]}'
    event = read_event(data)
    assert event.data == data  # the client may put the two halves together again
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
    assert event.finished


@pytest.mark.parametrize("choices", [[], None, "x", {}, [None], [{"index": "x", "delta": []}]])
def test_odd_choices_are_no_crash(choices: object) -> None:
    event = read_event(json.dumps({"choices": choices}).encode())
    assert event.text == event.counted_text == ""


def test_only_an_event_with_usage_and_without_choices_is_usage_only() -> None:
    usage = {"prompt_tokens": 1, "completion_tokens": 2}
    assert read_event(json.dumps({"choices": [], "usage": usage}).encode()).usage_only
    assert not read_event(json.dumps({"choices": [], "prompt_filter_results": []}).encode()).usage_only
    with_choice = read_event(json.dumps({"choices": [{"index": 0, "delta": {}}], "usage": usage}).encode())
    assert not with_choice.usage_only
    assert with_choice.usage is not None
