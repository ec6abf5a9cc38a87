"""CONTRACT §5: streamed chat completions, framed as OpenAI's API reference has them."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest

from tests.support.faults import PROMPT_TOKENS, SECRET, FaultyUpstream, pieces_of, reply_to
from tests.support.gateway import Gateway
from tests.support.http import event_lines, exchange_bytes, raw_post
from tests.support.routes import COMPLETIONS, messages, refused_error

PATH = "/v1/chat/completions"
BROKEN_OFF = ["cut", "cut-clean", "error-event", "silent"]


def body_of(text: str, **more: Any) -> dict[str, Any]:
    return {"model": "tiny", "messages": messages(text), "stream": True, **more}


def stream(gateway: Gateway, text: str, **more: Any) -> list[str]:
    """The payloads of the events of a stream that must begin well."""
    answer = gateway.http.post(PATH, json=body_of(text, **more), access_token=gateway.somebody)
    assert answer.status_code == 200
    assert answer.headers["content-type"].split(";")[0] == "text/event-stream"
    assert answer.headers["x-request-id"]
    assert answer.text.endswith("\n\n")
    return event_lines(answer.text)


def text_of(payloads: list[str]) -> str:
    chunks = [json.loads(payload) for payload in payloads if payload != "[DONE]"]
    return "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk.get("choices", []))


def sdk_of(gateway: Gateway) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{gateway.base_url}/v1", api_key=gateway.somebody, max_retries=0)


def test_the_official_sdk_gets_its_stream(gateway: Gateway, marker: str) -> None:
    with sdk_of(gateway) as client:
        chunks = list(
            client.chat.completions.create(model="tiny", messages=[{"role": "user", "content": marker}], stream=True)
        )
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == reply_to(marker)
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}


def test_a_stream_is_data_events_and_ends_with_done(gateway: Gateway, marker: str) -> None:
    payloads = stream(gateway, marker)
    assert payloads[-1] == "[DONE]"
    assert payloads.count("[DONE]") == 1
    assert text_of(payloads) == reply_to(marker)


@pytest.mark.parametrize("options", [{}, {"stream_options": {"include_usage": False}}, {"stream_options": None}])
def test_without_asking_for_it_no_usage_is_passed_on(gateway: Gateway, marker: str, options: dict[str, Any]) -> None:
    chunks = [json.loads(payload) for payload in stream(gateway, marker, **options)[:-1]]
    assert all(chunk["choices"] for chunk in chunks)
    assert not any(chunk.get("usage") for chunk in chunks)


def test_the_usage_that_was_asked_for_is_the_last_event_before_done(gateway: Gateway, marker: str) -> None:
    payloads = stream(gateway, marker, stream_options={"include_usage": True})
    *chunks, usage = [json.loads(payload) for payload in payloads[:-1]]
    completion = len(pieces_of(reply_to(marker)))
    assert usage["choices"] == []
    assert usage["usage"] == {
        "prompt_tokens": PROMPT_TOKENS, "completion_tokens": completion, "total_tokens": PROMPT_TOKENS + completion,
    }  # fmt: skip
    assert not any(chunk.get("usage") for chunk in chunks)


def test_the_upstream_is_always_asked_for_its_usage(gateway: Gateway, faults: FaultyUpstream, marker: str) -> None:
    stream(gateway, marker)
    assert faults.about(marker)[0].body["stream_options"]["include_usage"] is True


def test_other_stream_options_and_parameters_go_through(gateway: Gateway, faults: FaultyUpstream, marker: str) -> None:
    options = {"include_usage": True, "include_obfuscation": False}
    stream(gateway, marker, stream_options=options, a_parameter_of_next_year=1)
    (served,) = faults.about(marker)
    assert served.body == body_of(marker, stream_options=options, a_parameter_of_next_year=1)


def test_events_are_sent_as_they_come(gateway: Gateway, faults: FaultyUpstream, marker: str) -> None:
    text = f"{marker} fault:slow"
    with gateway.http.stream(PATH, json=body_of(text), access_token=gateway.somebody) as answer:
        lines = answer.iter_lines()
        next(lines)
        sent_before = faults.about(marker)[0].sent_pieces
        list(lines)
    assert sent_before < faults.about(marker)[0].sent_pieces - 1


def test_several_choices_are_streamed_too(gateway: Gateway, faults: FaultyUpstream, marker: str) -> None:
    stream(gateway, marker, n=2)
    assert faults.about(marker)[0].body["n"] == 2


@pytest.mark.parametrize("fault", ["status-400", "status-429", "status-500", "hang", "disconnect"])
def test_an_upstream_that_fails_before_its_stream_gives_a_status(gateway: Gateway, fault: str) -> None:
    answer = gateway.http.post(PATH, json=body_of(f"fault:{fault}"), access_token=gateway.somebody)
    assert answer.is_error
    refused_error(answer)


@pytest.mark.parametrize("fault", BROKEN_OFF)
def test_a_stream_that_the_upstream_cut_ends_in_an_error_event(gateway: Gateway, fault: str) -> None:
    payloads = stream(gateway, f"fault:{fault}")
    assert "[DONE]" not in payloads
    error = json.loads(payloads[-1])["error"]
    assert error.keys() >= {"message", "type"}
    assert reply_to(f"fault:{fault}").startswith(text_of(payloads[:-1]))
    assert text_of(payloads[:-1])
    assert SECRET not in "".join(payloads)


@pytest.mark.parametrize("fault", BROKEN_OFF)
def test_the_official_sdk_raises_where_a_stream_was_cut(gateway: Gateway, fault: str) -> None:
    with sdk_of(gateway) as client, pytest.raises(openai.APIError):
        for _ in client.chat.completions.create(
            model="tiny", messages=[{"role": "user", "content": f"fault:{fault}"}], stream=True
        ):
            pass


@pytest.mark.parametrize("fault", ["no-usage", "usage-early"])
def test_servers_that_report_usage_differently_are_relayed_whole(gateway: Gateway, fault: str) -> None:
    payloads = stream(gateway, f"fault:{fault}")
    assert text_of(payloads) == reply_to(f"fault:{fault}")
    assert "error" not in json.loads([payload for payload in payloads if payload != "[DONE]"][-1])


def test_the_frames_on_the_wire_are_chunks_of_http(gateway: Gateway, marker: str) -> None:
    received = exchange_bytes(gateway.base_url, raw_post(PATH, body_of(marker), access_token=gateway.somebody))
    assert received.startswith(b"HTTP/1.1 200")
    assert b"data: [DONE]\n\n" in received
    assert received.endswith(b"0\r\n\r\n")


@pytest.mark.usefixtures("far_from_midnight")
def test_a_stream_has_the_headers_of_its_quota_and_is_denied_by_status(gateway: Gateway) -> None:
    token = gateway.sign_in("one")
    answer = gateway.http.post(PATH, json=body_of("hello"), access_token=token)
    assert answer.status_code == 200
    assert answer.headers["x-ratelimit-limit-requests"] == "1"
    assert answer.headers["x-ratelimit-remaining-requests"] == "0"
    denied = gateway.http.post(PATH, json=body_of("hello"), access_token=token)
    assert denied.status_code == 429
    refused_error(denied)
    assert COMPLETIONS.ask(gateway, "hello", token).status_code == 429


@pytest.mark.parametrize("stream_value", ["yes", 1, []], ids=repr)
def test_stream_must_be_a_boolean(gateway: Gateway, stream_value: Any) -> None:
    body = {**body_of("hello"), "stream": stream_value}
    answer = gateway.http.post(PATH, json=body, access_token=gateway.somebody)
    assert answer.status_code == 400
    refused_error(answer)
