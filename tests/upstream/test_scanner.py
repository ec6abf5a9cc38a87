"""What is relayed of a stream: the same bytes and the same usage, however the network cuts it."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatapi.domain.usage import Usage, UsageSource
from chatapi.upstream.scanner import Scanner
from chatapi.upstream.sse import DONE_EVENT, events_in
from chatapi.upstream.transcript import Transcript

DONES = ["data: [DONE]\n\n", "data:[DONE]\n\n"]
USAGE = {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}
REPORTED = Usage(9, 0, 2, 0, UsageSource.UPSTREAM)
SAID = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    ["[DONE]", "data: [DONE]", '"usage":{"prompt_tokens":7}', '{"error": {}}', "\n\n", "\r", "}\n\ndata: {", '"']
)


def chunk_of(text: str | None, **more: object) -> dict[str, object]:
    choices = [] if text is None else [{"index": 0, "delta": {"content": text}, "finish_reason": None}]
    return {"id": "chatcmpl-1", "choices": choices, **more}


@st.composite
def events(draw: st.DrawFn) -> tuple[str, str | None]:
    """One event as its lines, ended by LF; and what it says, where it says something."""
    kind = draw(
        st.sampled_from(["plain", "plain", "null", "usage", "continuous", "lines", "comment", "field", "empty"])
    )
    if kind == "comment":
        return ": ping", None
    if kind == "field":
        return draw(st.sampled_from(["retry: 5", "id: 7", "event: message", "data:"])), None
    if kind == "empty":
        return "", None
    if kind == "usage":
        return f"data: {json.dumps(chunk_of(None, usage=USAGE))}", None
    text = draw(SAID)
    more: dict[str, dict[str, object]] = {"null": {"usage": None, "error": None}, "continuous": {"usage": USAGE}}
    said = json.dumps(chunk_of(text, **more.get(kind, {})), ensure_ascii=draw(st.booleans()))
    colon = draw(st.sampled_from(["data: ", "data:", "data:  "]))
    if kind == "lines":
        return f": hm\n{colon}{said[:1]}\n{colon}{said[1:]}\nid: 8", text
    return colon + said, text


@st.composite
def streams(draw: st.DrawFn) -> tuple[bytes, str, bool]:
    """A stream's bytes, what it says, and whether it reports usage."""
    drawn = draw(st.lists(events(), max_size=8))
    ending = draw(st.sampled_from(["\n", "\r\n", "\r"]))
    body = "".join(f"{lines}\n\n" for lines, _ in drawn) + draw(
        st.sampled_from(["data: [DONE]\n\n", "data:[DONE]\n\n"])
    )
    body += draw(st.sampled_from(["", "data: {}\n\n", "garbage\n\n"]))  # nobody looks behind [DONE]
    data = draw(st.sampled_from([b"", b"\xef\xbb\xbf"])) + body.replace("\n", ending).encode()
    said = "".join(text for _, text in drawn if text is not None)
    return data, said, any('"usage": {' in lines for lines, _ in drawn)


def relay(data: bytes, cuts: list[int], *, pass_usage: bool) -> tuple[bytes, Scanner]:
    scanner = Scanner(pass_usage=pass_usage)
    places = sorted({cut % (len(data) + 1) for cut in cuts} | {0, len(data)})
    relayed = b""
    for start, end in pairwise(places):
        relayed += scanner.feed(data[start:end])
        if scanner.over:
            break
    return relayed if scanner.over else relayed + scanner.end(), scanner


def parsed(relayed: bytes) -> str:
    return "".join(event.text for event in events_in(relayed))


@settings(deadline=None)
@given(streams(), st.lists(st.integers(min_value=0), max_size=12), st.booleans())
def test_any_cuts_relay_the_same_bytes_and_find_the_same_usage(
    stream: tuple[bytes, str, bool], cuts: list[int], pass_usage: bool
) -> None:
    data, said, reports = stream
    for places in (cuts, [], list(range(len(data)))):
        relayed, scanner = relay(data, places, pass_usage=pass_usage)
        assert relayed == relay(data, [], pass_usage=pass_usage)[0]
        assert scanner.done and not scanner.error and not scanner.broken
        assert scanner.usage() == (REPORTED if reports else None)
    assert parsed(relayed) == said
    assert relayed.rstrip().endswith(b"[DONE]")
    assert b"\r" not in relayed and b"\n\n\n" not in relayed
    if not pass_usage:
        assert b'"choices": []' not in relayed


@settings(deadline=None)
@given(st.binary(max_size=200), st.lists(st.integers(min_value=0), max_size=5))
def test_any_bytes_relay_the_same_however_they_are_cut(data: bytes, cuts: list[int]) -> None:
    data = b"data: {" + data + b"}\n\ndata: [DONE]\n\n"
    relayed, scanner = relay(data, cuts, pass_usage=False)
    whole, other = relay(data, [], pass_usage=False)
    assert (relayed, scanner.done, scanner.error) == (whole, other.done, other.error)
    assert (scanner.broken is None) == (other.broken is None)
    relayed.decode("utf-8")


def test_a_common_stream_is_relayed_to_the_byte() -> None:
    data = (
        b"".join(b"data: " + json.dumps(chunk_of("x", usage=None)).encode() + b"\n\n" for _ in range(50)) + DONE_EVENT
    )
    assert relay(data, [], pass_usage=False)[0] == data


def test_a_usage_event_with_choices_is_relayed_and_its_usage_found() -> None:
    event = b"data: " + json.dumps(chunk_of("x", usage=USAGE)).encode() + b"\n\n"
    relayed, scanner = relay(event, [], pass_usage=False)
    assert relayed == event
    assert scanner.usage() == REPORTED


@pytest.mark.parametrize(
    "more",
    [
        b'"error":null',
        b'"error": null',
        b'"error" : null',
        b'"error": {}',
        b'"moderation": {"error": {"code": "some_code"}}',
    ],
)
def test_what_is_no_error_hides_no_usage(more: bytes) -> None:
    event = b'data: {"choices": [], ' + more + b', "usage": ' + json.dumps(USAGE).encode() + b"}\n\n"
    for pass_usage in (False, True):
        relayed, scanner = relay(event, [], pass_usage=pass_usage)
        assert relayed == (event if pass_usage else b"")
        assert scanner.usage() == REPORTED
        assert scanner.error is None


def test_an_event_without_choices_is_relayed_if_it_is_not_there_for_its_usage() -> None:
    event = b'data: {"choices": [], "prompt_filter_results": [], "usage": null}\n\n'
    assert relay(event, [], pass_usage=False)[0] == event


def test_the_largest_report_counts_and_one_without_sense_is_not_believed() -> None:
    reports = [USAGE | {"completion_tokens": count} for count in (1, 7, 3)]
    reports.append({"prompt_tokens": -1, "completion_tokens": 10**30})
    data = b"".join(b"data: " + json.dumps(chunk_of("x", usage=usage)).encode() + b"\n\n" for usage in reports)
    usage = relay(data, [], pass_usage=False)[1].usage()
    assert usage is not None
    assert usage.completion_tokens == 7


def test_what_came_before_an_error_is_relayed_also_when_it_came_together() -> None:
    good = b"data: " + json.dumps(chunk_of("x")).encode() + b"\n\n"
    relayed, scanner = relay(good + b'data: {"error": {"message": "No."}}\n\n' + good, [], pass_usage=False)
    assert relayed == good
    assert scanner.error == {"message": "No."}


@pytest.mark.parametrize("end", [b"data: [DONE]", b"data: [DONE]\n", b"data:[DONE]"])
def test_an_event_may_lack_its_last_blank_line(end: bytes) -> None:
    relayed, scanner = relay(end, [], pass_usage=False)
    assert scanner.done
    assert relayed.endswith(b"[DONE]\n\n")


def test_half_an_event_at_the_end_is_not_relayed_even_if_it_ends_in_a_brace() -> None:
    assert relay(b'data: {"choices": [{"delta": {}', [], pass_usage=False)[0] == b""


@pytest.mark.parametrize("data", [b"data: " + b"x" * 2000, b"data: x\n" * 300, b": " + b"x" * 2000])
@pytest.mark.parametrize("size", [1, 64, 5000])
def test_a_giant_event_is_refused_before_it_fills_the_memory(data: bytes, size: int) -> None:
    scanner = Scanner(pass_usage=False, largest_event_bytes=1000)
    for start in range(0, len(data), size):
        scanner.feed(data[start : start + size])
    assert scanner.broken is not None
    assert "too large" in str(scanner.broken)


def test_bad_utf8_becomes_replacement_characters() -> None:
    relayed, _ = relay(b'data: {"choices": [{"delta": {"content": "a\xff"}}]}\n\n', [], pass_usage=False)
    assert parsed(relayed) == "a\ufffd"
    relayed.decode("utf-8")


def test_a_long_stream_is_kept_small_and_is_all_there() -> None:
    transcript = Transcript()
    for number in range(5000):
        transcript.add(b"data: " + json.dumps(chunk_of(f"word{number} ")).encode() + b"\n\n")
    transcript.add(b'data: {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}\n\n' + DONE_EVENT)
    assert transcript.counted_text() == "".join(f"word{number} " for number in range(5000))
    assert transcript.ended()
    assert transcript.upstream_id() == "chatcmpl-1"
    assert sum(map(len, transcript._compressed)) < 5000 * 16


def test_an_event_that_makes_no_sense_is_counted_as_it_stands_and_hides_nothing_behind_it() -> None:
    transcript = Transcript()
    transcript.add(b'data: {"choices": [{"delta": {"content": "a"}}]}\n\ndata: {no JSON}\n\n')
    transcript.add(b'data: {"choices": [{"delta": {"content": "b"}}]}\n\n')
    assert transcript.counted_text() == "a{no JSON}b"
