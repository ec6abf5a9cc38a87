"""CONTRACT §5: OpenAI's own SDK for Python, as its users write it, with an access token as `api_key`.

Other clients are tested by `make clients` (tests/clients). Replies are validated as strictly as the SDK can.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletion
from pydantic import BaseModel

from bench.emulator.process import Emulator
from tests.clients.ledger import emulator_log, ledger_equals, rows_of
from tests.support.gateway import Gateway, MakeGateway
from tests.support.openai_sdk import Sdk
from tests.support.postgres import FreshDatabase

MODEL = "gpt-4o-emu-events5"
SAID = " time year work life hand"
MESSAGES: list[Any] = [{"role": "user", "content": "What would you like to say?"}]
TOOL: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "say",
        "description": "Say it aloud.",
        "parameters": {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]},
    },
}


class Sentence(BaseModel):
    text: str


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    with Emulator(tmp_path_factory.mktemp("emulator") / "served.jsonl") as running:
        yield running


@pytest.fixture(scope="module")
def gateway(make_lasting_gateway: MakeGateway, lasting_database: FreshDatabase, emulator: Emulator) -> Gateway:
    """One for all tests here; what the two databases do differently is not seen by an SDK."""
    made = make_lasting_gateway(lasting_database("sqlite"), upstream_url=emulator.url, start=False)
    made.start_with_users()
    return made


@pytest.fixture(scope="module", params=["sync", "async"])
def sdk(request: pytest.FixtureRequest, gateway: Gateway) -> Iterator[Sdk]:
    made = Sdk(gateway.base_url, asynchronous=request.param == "async")
    yield made
    made.close()


@pytest.fixture(autouse=True)
def every_call_is_in_the_ledger_as_the_upstream_logged_it(gateway: Gateway, emulator: Emulator) -> Iterator[None]:
    before = frozenset(rows_of(gateway.database_url))
    yield
    ledger_equals(gateway.database_url, lambda: emulator_log(emulator), before=before)


def chat(model: str = MODEL, **more: Any) -> Callable[[Any], Any]:
    return lambda client: client.chat.completions.create(model=model, **{"messages": MESSAGES, **more})


def test_a_chat_completion(sdk: Sdk, gateway: Gateway) -> None:
    reply: ChatCompletion = sdk.ask(chat(), gateway.somebody)
    assert reply.choices[0].message.content == SAID
    assert reply.choices[0].finish_reason == "stop"
    assert reply.usage is not None
    assert reply.usage.completion_tokens == 5
    assert reply.model == MODEL


def test_the_raw_reply_has_the_ids_and_the_limits(sdk: Sdk, gateway: Gateway) -> None:
    token = gateway.sign_in("plain")
    raw = sdk.ask(
        lambda client: client.chat.completions.with_raw_response.create(model=MODEL, messages=MESSAGES), token
    )
    assert raw.headers["x-request-id"] == raw.request_id
    assert raw.headers["x-ratelimit-limit-requests"] == "10"
    assert raw.headers["x-ratelimit-remaining-requests"] == "9"
    assert not {"openai-organization", "openai-processing-ms"} & raw.headers.keys()


@pytest.mark.parametrize("usage", [False, True])
def test_a_stream(sdk: Sdk, gateway: Gateway, usage: bool) -> None:
    more: dict[str, Any] = {"stream_options": {"include_usage": True}} if usage else {}
    events = sdk.stream(chat(stream=True, **more), gateway.somebody)
    assert "".join(choice.delta.content or "" for event in events for choice in event.choices) == SAID
    assert [event.usage.completion_tokens for event in events if event.usage] == ([5] if usage else [])


def test_the_helper_for_streams_puts_them_together(gateway: Gateway) -> None:
    client = openai.OpenAI(base_url=f"{gateway.base_url}/v1", api_key=gateway.somebody, max_retries=0)
    with client, client.chat.completions.stream(model=MODEL, messages=MESSAGES, tools=[TOOL]) as stream:  # type: ignore[list-item]
        said = stream.get_final_completion().choices[0].message
    assert said.tool_calls is not None
    assert said.tool_calls[0].function.arguments == json.dumps({"text": SAID}, separators=(",", ":"))


def test_a_tool_is_called_and_its_result_is_answered(sdk: Sdk, gateway: Gateway) -> None:
    asked = sdk.ask(chat(tools=[TOOL], tool_choice="auto"), gateway.somebody).choices[0]
    assert asked.finish_reason == "tool_calls"
    (called,) = asked.message.tool_calls
    assert json.loads(called.function.arguments) == {"text": SAID}
    result = {"role": "tool", "tool_call_id": called.id, "content": "It was said."}
    messages = [*MESSAGES, asked.message.model_dump(exclude_none=True), result]
    assert sdk.ask(chat(messages=messages, tools=[TOOL]), gateway.somebody).choices[0].message.content == SAID


def test_a_streamed_tool_call(sdk: Sdk, gateway: Gateway) -> None:
    events = sdk.stream(chat(tools=[TOOL], stream=True), gateway.somebody)
    calls = [call for event in events for choice in event.choices for call in choice.delta.tool_calls or []]
    assert calls[0].function.name == "say"
    assert json.loads("".join(call.function.arguments for call in calls)) == {"text": SAID}


def test_structured_output_is_parsed(sdk: Sdk, gateway: Gateway) -> None:
    reply = sdk.ask(
        lambda client: client.chat.completions.parse(model=MODEL, messages=MESSAGES, response_format=Sentence),
        gateway.somebody,
    )
    assert reply.choices[0].message.parsed == Sentence(text=SAID)


def test_structured_output_that_is_cut_short_is_not_taken_for_whole(sdk: Sdk, gateway: Gateway) -> None:
    with pytest.raises(openai.LengthFinishReasonError):
        sdk.ask(
            lambda client: client.chat.completions.parse(
                model=MODEL, messages=MESSAGES, response_format=Sentence, max_completion_tokens=2
            ),
            gateway.somebody,
        )


@pytest.mark.parametrize("given", ["one text", ["two", "texts"], [11, 12, 13], [[11, 12], [13]]], ids=str)
def test_embeddings(sdk: Sdk, gateway: Gateway, given: Any) -> None:
    # Not strict: there the SDK refuses the vectors in base64 for which it asks itself.
    reply = sdk.ask(lambda client: client.embeddings.create(model="emu", input=given), gateway.somebody, strict=False)
    assert len(reply.data) == (2 if isinstance(given[0], list) or len(given) == 2 else 1)
    assert all(len(one.embedding) == 8 and isinstance(one.embedding[0], float) for one in reply.data)
    assert reply.usage.prompt_tokens > 0


def test_what_the_upstream_did_not_report_is_counted(sdk: Sdk, gateway: Gateway) -> None:
    assert sdk.ask(chat("gpt-4o-emu-nousage"), gateway.somebody).usage is None
    row = list(rows_of(gateway.database_url).values())[-1]
    assert (row["usage_source"], row["completion_tokens"]) == ("counted", 10)


@pytest.mark.parametrize("key", ["sk-no-access-token", "eyJhbGciOiJIUzI1NiJ9.e30.c2lnbmF0dXJl"], ids=["a key", "a JWT"])
def test_what_is_no_access_token_is_an_authentication_error(sdk: Sdk, key: str) -> None:
    with pytest.raises(openai.AuthenticationError) as raised:
        sdk.ask(chat(), key, retries=2)
    assert raised.value.status_code == 401
    assert raised.value.code == "invalid_api_key"


@pytest.mark.usefixtures("far_from_midnight")
def test_a_used_up_quota_is_a_rate_limit_error_that_is_not_tried_again(sdk: Sdk, gateway: Gateway) -> None:
    token = gateway.sign_in("one")
    sdk.ask(chat(), token)
    with pytest.raises(openai.RateLimitError) as raised:
        sdk.ask(chat(), token, retries=2)
    assert raised.value.type == "insufficient_quota"
    assert int(raised.value.response.headers["retry-after"]) > 60
    assert raised.value.response.headers["x-should-retry"] == "false"
    assert "requests" in raised.value.message
    assert raised.value.request.headers["x-stainless-retry-count"] == "0", "who tries in vain waits in vain"


def test_a_rate_limit_of_the_upstream_is_passed_on_and_tried_again(
    sdk: Sdk, gateway: Gateway, emulator: Emulator
) -> None:
    before = len(emulator.arrived())
    with pytest.raises(openai.RateLimitError) as raised:
        sdk.ask(chat("emu-status429-retry1"), gateway.somebody, retries=1)
    assert raised.value.response.headers["retry-after"] == "1"
    assert len(emulator.arrived()) - before == 2


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, openai.BadRequestError),
        (404, openai.NotFoundError),
        (422, openai.UnprocessableEntityError),
        (500, openai.InternalServerError),
        (503, openai.InternalServerError),
    ],
)
@pytest.mark.parametrize("more", [{}, {"stream": True}], ids=["plain", "stream"])
def test_what_the_upstream_says_raises_the_sdks_error(
    sdk: Sdk, gateway: Gateway, status: int, error: type[openai.APIStatusError], more: dict[str, Any]
) -> None:
    with pytest.raises(error) as raised:
        sdk.ask(chat(f"emu-status{status}", **more), gateway.somebody)
    assert raised.value.code
    assert raised.value.request_id == raised.value.response.headers["x-request-id"]


def test_a_failure_of_the_upstream_is_tried_again(sdk: Sdk, gateway: Gateway, emulator: Emulator) -> None:
    before = len(emulator.arrived())
    with pytest.raises(openai.InternalServerError):
        sdk.ask(chat("emu-status500"), gateway.somebody, retries=1)
    assert len(emulator.arrived()) - before == 2


@pytest.mark.parametrize(
    "body", [{"messages": []}, {"messages": "hello"}, {"model": ""}, {"max_tokens": -1}, {"n": 0}], ids=str
)
def test_what_makes_no_sense_is_a_bad_request_that_nobody_pays_for(
    sdk: Sdk, gateway: Gateway, emulator: Emulator, body: dict[str, Any]
) -> None:
    before = len(emulator.arrived())
    with pytest.raises(openai.BadRequestError) as raised:
        sdk.ask(
            lambda client: client.chat.completions.create(**{"model": MODEL, "messages": MESSAGES, **body}),
            gateway.somebody,
        )
    assert raised.value.type == "invalid_request_error"
    assert len(emulator.arrived()) == before


def retrieve(name: str, client: Any) -> Any:
    return client.models.retrieve(name)


def test_models_are_listed_and_found_by_their_names(sdk: Sdk, gateway: Gateway) -> None:
    listed = sdk.ask(lambda client: client.models.list(), gateway.somebody).data
    assert listed
    assert [sdk.ask(partial(retrieve, model.id), gateway.somebody) for model in listed] == listed
    with pytest.raises(openai.NotFoundError) as raised:
        sdk.ask(partial(retrieve, "no-model-has-this-name"), gateway.somebody)
    assert raised.value.code == "model_not_found"
    with pytest.raises(openai.AuthenticationError):
        sdk.ask(lambda client: client.models.list(), "sk-no-access-token")


def test_a_path_that_is_none_is_not_found(sdk: Sdk, gateway: Gateway) -> None:
    with pytest.raises(openai.NotFoundError):
        sdk.ask(lambda client: client.fine_tuning.jobs.retrieve("ftjob-1"), gateway.somebody)


def test_a_stream_that_breaks_off_raises(sdk: Sdk, gateway: Gateway) -> None:
    with pytest.raises(openai.APIError):
        sdk.stream(chat("emu-events9-cut4", stream=True), gateway.somebody)
