"""CONTRACT §5: `/v1/chat/completions`, plain, by raw HTTP and the official SDK. Streams: test_v1_streams.py."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from tests.support.faults import SECRET, FaultyUpstream, reply_to
from tests.support.gateway import Gateway
from tests.support.routes import COMPLETIONS, messages, refused_error

PATH = "/v1/chat/completions"
DURATION = re.compile(r"(\d+d)?(\d+h)?(\d+m)?(\d+(\.\d+)?s)?(\d+ms)?")  # as OpenAI writes it: 6m0s, 1s, 20ms


@pytest.fixture
def sdk(gateway: Gateway) -> Iterator[openai.OpenAI]:
    """The official SDK as its users set it up: host and credential, nothing else."""
    with openai.OpenAI(base_url=f"{gateway.base_url}/v1", api_key=gateway.somebody) as client:
        yield client


def post(gateway: Gateway, body: Any, token: str | None = None) -> Any:
    return gateway.http.post(PATH, json=body, access_token=token or gateway.somebody)


def test_the_official_sdk_gets_its_completion(sdk: openai.OpenAI, marker: str) -> None:
    completion = sdk.chat.completions.create(model="tiny", messages=[{"role": "user", "content": marker}])
    assert completion.object == "chat.completion"
    assert completion.choices[0].message.content == reply_to(marker)
    assert completion.choices[0].finish_reason == "stop"
    assert completion.usage is not None
    assert completion.usage.total_tokens == completion.usage.prompt_tokens + completion.usage.completion_tokens
    assert completion._request_id  # the SDK reads it from the header x-request-id


def test_the_reply_keeps_what_this_gateway_does_not_know(gateway: Gateway, marker: str) -> None:
    answer = post(gateway, {"model": "tiny", "messages": messages(marker)})
    assert answer.status_code == 200
    assert answer.headers["content-type"].split(";")[0] == "application/json"
    assert answer.json()["an_unknown_field"] == {"kept": True}


def test_every_parameter_goes_through_unchanged(gateway: Gateway, faults: FaultyUpstream, marker: str) -> None:
    body = {
        "model": "some-model", "messages": [{"role": "developer", "content": "Be brief."}, *messages(marker)],
        "temperature": 0.3, "top_p": 0.1, "n": 2, "stop": ["\n", "end"], "presence_penalty": 0.5,
        "frequency_penalty": -0.5, "logit_bias": {"50256": -100}, "user": "someone", "seed": 7, "logprobs": True,
        "top_logprobs": 2, "response_format": {"type": "json_object"}, "max_completion_tokens": 33,
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
        "tool_choice": "auto", "parallel_tool_calls": False, "metadata": {"a": "b"}, "store": False,
        "a_parameter_of_next_year": {"deep": [1, 2.5, None, "日本語 🙂"]},
    }  # fmt: skip
    answer = post(gateway, body)
    assert answer.status_code == 200
    assert [choice["message"]["content"] for choice in answer.json()["choices"]] == [reply_to(marker)] * 2
    (served,) = faults.about(marker)
    assert served.body == body


def test_numbers_go_through_as_they_are(gateway: Gateway, faults: FaultyUpstream, marker: str) -> None:
    numbers = f"[0, -7, 18446744073709551615, 18446744073709551616, -{'9' * 40}, 1.5, -0.1, 1e-7, 5e300, {'8' * 300}]"
    tool = f'{{"type": "function", "function": {{"name": "f", "parameters": {{"enum": {numbers}}}}}}}'
    body = f'{{"model": "tiny", "messages": {json.dumps(messages(marker))}, "x": {numbers}, "tools": [{tool}]}}'
    headers = {"Content-Type": "application/json"}
    for token in (gateway.somebody, gateway.sign_in("tokens")):
        answer = gateway.http.post(PATH, content=body.encode(), headers=headers, access_token=token)
        assert answer.status_code == 200
    for served in faults.about(marker):
        assert served.body["x"] == json.loads(numbers)
        assert list(map(type, served.body["x"])) == list(map(type, json.loads(numbers)))
        assert served.body["tools"] == [json.loads(tool)]


@pytest.mark.parametrize("where", ["n", "max_tokens", "model", "messages", "stream"])
def test_a_giant_number_where_none_belongs_is_refused(gateway: Gateway, where: str) -> None:
    body = json.dumps({"model": "tiny", "messages": messages("hello"), where: 10**30})
    headers = {"Content-Type": "application/json"}
    answer = gateway.http.post(PATH, content=body.encode(), headers=headers, access_token=gateway.somebody)
    assert answer.status_code == 400
    refused_error(answer)


def test_the_reply_is_relayed_to_the_byte(gateway: Gateway, faults: FaultyUpstream, marker: str) -> None:
    answer = post(gateway, {"model": "tiny", "messages": messages(f"{marker} é")})
    assert answer.status_code == 200
    call_id = faults.about(marker)[0].call_id
    assert answer.content == json.dumps(json.loads(answer.content)).encode(), "the upstream writes spaces and escapes"
    assert answer.json()["id"] == f"chatcmpl-{call_id}"


def test_the_content_of_a_message_may_be_parts(gateway: Gateway, faults: FaultyUpstream, marker: str) -> None:
    parts = [{"type": "text", "text": marker}, {"type": "text", "text": " and more"}]
    answer = post(gateway, {"model": "tiny", "messages": [{"role": "user", "content": parts}]})
    assert answer.status_code == 200
    assert faults.about(marker)[0].body["messages"] == [{"role": "user", "content": parts}]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"messages": messages("hello")}, {"message": "you must provide a model parameter", "param": None}),
        ({"model": "tiny"}, {"message": "Missing required parameter: 'messages'.", "param": "messages",
                             "code": "missing_required_parameter"}),
        ({"model": "tiny", "messages": "hello"},
         {"message": "Invalid type for 'messages': expected an array of objects, but got a string instead.",
          "param": "messages", "code": "invalid_type"}),
        ({"model": "tiny", "messages": {"role": "user"}}, {"param": "messages", "code": "invalid_type"}),
        ({"model": "tiny", "messages": []}, {"param": "messages", "code": "empty_array"}),
        ({"model": "tiny", "messages": ["hello"]}, {"param": "messages[0]", "code": "invalid_type"}),
        ({"model": "tiny", "messages": 7}, {"param": "messages", "code": "invalid_type"}),
    ],
    ids=str,
)  # fmt: skip
def test_what_openai_refuses_for_its_shape_is_refused_in_its_words(
    gateway: Gateway, faults: FaultyUpstream, body: dict[str, Any], expected: dict[str, Any]
) -> None:
    before = len(faults.served)
    answer = post(gateway, body)
    assert len(faults.served) == before
    assert answer.status_code == 400
    refused_error(answer)
    error = answer.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert {name: error[name] for name in expected} == expected


@pytest.mark.parametrize("fault", ["status-400", "status-401", "status-429", "status-500", "disconnect", "garbage"])
def test_when_the_upstream_fails_the_sdk_raises_its_error_without_secrets(gateway: Gateway, fault: str) -> None:
    answer = COMPLETIONS.ask(gateway, f"fault:{fault}", gateway.somebody)
    assert answer.is_error
    refused_error(answer)
    assert SECRET not in answer.text
    assert "sk-of-the-tests" not in answer.text
    with (
        openai.OpenAI(base_url=f"{gateway.base_url}/v1", api_key=gateway.somebody, max_retries=0) as client,
        pytest.raises(openai.APIStatusError),
    ):
        client.chat.completions.create(model="tiny", messages=[{"role": "user", "content": f"fault:{fault}"}])


def test_what_the_upstream_refuses_is_the_clients_to_mend(gateway: Gateway) -> None:
    answer = COMPLETIONS.ask(gateway, "fault:status-400", gateway.somebody)
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"


def test_a_wrong_key_of_the_upstream_is_not_the_clients_fault(gateway: Gateway) -> None:
    # With a 401 the SDK's user would look for the mistake in the own credential.
    assert COMPLETIONS.ask(gateway, "fault:status-401", gateway.somebody).status_code >= 500


def test_a_failure_of_the_upstream_is_a_failure_of_the_server(gateway: Gateway) -> None:
    for fault in ("status-500", "disconnect", "garbage", "hang"):
        assert COMPLETIONS.ask(gateway, f"fault:{fault}", gateway.somebody).status_code >= 500


def test_without_a_good_access_token_the_sdk_raises_an_authentication_error(gateway: Gateway) -> None:
    answer = COMPLETIONS.ask(gateway, "hello", None)
    assert answer.status_code == 401
    refused_error(answer)
    with (
        openai.OpenAI(base_url=f"{gateway.base_url}/v1", api_key="sk-wrong", max_retries=0) as client,
        pytest.raises(openai.AuthenticationError),
    ):
        client.chat.completions.create(model="tiny", messages=[{"role": "user", "content": "hello"}])


@pytest.mark.usefixtures("far_from_midnight")
def test_a_used_up_quota_is_insufficient_and_not_tried_again(
    gateway: Gateway, faults: FaultyUpstream, marker: str
) -> None:
    token = gateway.sign_in("one")
    assert COMPLETIONS.ask(gateway, marker, token).status_code == 200
    denied = COMPLETIONS.ask(gateway, marker, token)
    assert denied.status_code == 429
    refused_error(denied)
    assert denied.json()["error"]["type"] == "insufficient_quota"
    assert int(denied.headers["retry-after"]) > 0
    assert denied.headers["x-should-retry"] == "false"
    with (
        openai.OpenAI(base_url=f"{gateway.base_url}/v1", api_key=token) as client,
        pytest.raises(openai.RateLimitError) as raised,
    ):
        client.chat.completions.create(model="tiny", messages=[{"role": "user", "content": marker}])
    assert raised.value.type == "insufficient_quota"
    assert len(faults.about(marker)) == 1


@pytest.mark.usefixtures("far_from_midnight")
def test_the_headers_say_what_is_left_of_the_requests(gateway: Gateway) -> None:
    token = gateway.sign_in("plain")
    for left in ("9", "8"):
        headers = COMPLETIONS.ask(gateway, "hello", token).headers
        assert headers["x-ratelimit-limit-requests"] == "10"
        assert headers["x-ratelimit-remaining-requests"] == left
        assert DURATION.fullmatch(headers["x-ratelimit-reset-requests"])
        assert headers["x-ratelimit-reset-requests"]
        assert not [name for name in headers if name.startswith("x-ratelimit-") and name.endswith("-tokens")]


@pytest.mark.usefixtures("far_from_midnight")
def test_the_headers_say_what_is_left_of_the_tokens(gateway: Gateway) -> None:
    answer = COMPLETIONS.ask(gateway, "hello", gateway.sign_in("tokens"))
    assert answer.status_code == 200
    assert answer.headers["x-ratelimit-limit-tokens"] == "5000"
    # What the call itself holds may still be counted, as OpenAI counts its own estimate.
    assert 0 < int(answer.headers["x-ratelimit-remaining-tokens"]) <= 5000 - answer.json()["usage"]["total_tokens"]
    assert DURATION.fullmatch(answer.headers["x-ratelimit-reset-tokens"])
    assert answer.headers["x-ratelimit-limit-requests"] == "100000"


@pytest.mark.parametrize("kind", ["a bad body", "a denial", "a failed upstream"])
def test_authenticated_refusals_have_the_headers_too(gateway: Gateway, kind: str) -> None:
    if kind == "a bad body":
        answer = post(gateway, {"model": "tiny"}, gateway.sign_in("plain"))
        remaining = "10"
    elif kind == "a denial":
        answer = COMPLETIONS.ask(gateway, "hello", gateway.sign_in("none"))
        remaining = "0"
    else:
        answer = COMPLETIONS.ask(gateway, "fault:status-500", gateway.sign_in("plain"))
        remaining = "10"
    assert answer.is_error
    assert answer.headers["x-ratelimit-remaining-requests"] == remaining


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/no/such/path"])
def test_every_reply_has_a_request_id_of_its_own(gateway: Gateway, path: str) -> None:
    answers = [gateway.http.post(path, json={}) for _ in range(2)]
    answers += [gateway.http.post(path, json={}, access_token=gateway.somebody), gateway.http.get(path)]
    ids = {answer.headers["x-request-id"] for answer in answers}
    assert len(ids) == len(answers)
    for answer in answers:
        assert answer.is_error
        refused_error(answer)


def test_a_cap_is_only_added_where_a_limit_of_tokens_needs_one(
    gateway: Gateway, faults: FaultyUpstream, marker: str
) -> None:
    COMPLETIONS.ask(gateway, f"{marker}-free", gateway.somebody)
    COMPLETIONS.ask(gateway, f"{marker}-limited", gateway.sign_in("tokens"))
    free, limited = faults.about(f"{marker}-free")[0].body, faults.about(f"{marker}-limited")[0].body
    assert free == {"model": "tiny", "messages": messages(f"{marker}-free")}
    assert 0 < limited.get("max_completion_tokens", limited.get("max_tokens", 0)) < 5000


@pytest.mark.usefixtures("far_from_midnight")
def test_near_its_end_a_quota_of_tokens_caps_the_completion(
    gateway: Gateway, faults: FaultyUpstream, marker: str
) -> None:
    body = {"model": "tiny", "messages": messages(marker), "max_completion_tokens": 100_000}
    assert post(gateway, body, gateway.sign_in("tokens")).status_code == 200
    assert 0 < faults.about(marker)[0].body["max_completion_tokens"] < 5000


def test_a_prompt_that_the_quota_of_tokens_cannot_hold_is_denied(
    gateway: Gateway, faults: FaultyUpstream, marker: str
) -> None:
    answer = COMPLETIONS.ask(gateway, f"{marker} " + "many different words " * 50, gateway.sign_in("few_tokens"))
    assert answer.status_code == 429
    refused_error(answer)
    assert answer.json()["error"]["type"] == "insufficient_quota"
    assert not faults.about(marker)
