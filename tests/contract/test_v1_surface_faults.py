"""OpenAI's endpoints before an upstream that answers in other shapes than it should: streams that break, usage that is
missing, models that only chat. What is charged then, and what the client is told.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from typing import Any

import httpx2
import openai
import pytest

from chatapi.upstream import tokens
from tests.support.gateway import SHARED_SETTINGS, Gateway, MakeGateway
from tests.support.ledger import await_endings, endings
from tests.upstream.servers import Request, ScriptedServer, response, serving

WAIT_S = 5
TEXT = "The sea is wide and salty."
DELTA = {"type": "response.output_text.delta", "sequence_number": 4, "delta": TEXT}
RESPONSE = {"id": "resp_1", "object": "response", "status": "completed", "error": None}
USAGE = {
    "input_tokens": 11, "output_tokens": 7, "total_tokens": 18, "input_tokens_details": {"cached_tokens": 3},
    "output_tokens_details": {"reasoning_tokens": 2},
}  # fmt: skip
ITEMS = [
    {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm."}]},
    {"type": "function_call", "name": "look", "arguments": '{"at": "sea"}', "call_id": "c"},
    {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": TEXT}]},
]


def events(*said: dict[str, Any]) -> bytes:
    return b"".join(b"event: %b\ndata: %b\n\n" % (each["type"].encode(), json.dumps(each).encode()) for each in said)


COMPLETED = {"type": "response.completed", "sequence_number": 5, "response": {**RESPONSE, "output": [], "usage": USAGE}}
SILENT_END = {**COMPLETED, "response": {**RESPONSE, "output": []}}
FAILED = {
    "type": "response.failed",
    "response": {**RESPONSE, "status": "failed", "error": {"code": "x"}, "usage": USAGE},
}
STREAMS = {
    "whole": events(DELTA, COMPLETED),
    "silent": events(DELTA, SILENT_END),
    "failed": events(DELTA, FAILED),
    "broken": events(DELTA),
    "error": events(DELTA, {"type": "error", "code": "server_error", "message": "Not now.", "param": None}),
    "nothing": b"data: nothing\n\n",
}


def script(connection: socket.socket, request: Request) -> None:
    """Answer as the model's name says."""
    if request.method == "GET":
        connection.sendall(response(404, b'{"error": {"message": "no list"}}'))
        return
    kind = json.loads(request.body)["model"] if request.body.startswith(b"{") else "form"
    if request.target.endswith("/responses"):
        _answer_response(connection, kind, json.loads(request.body))
    elif request.target.endswith("/speech"):
        head = b"HTTP/1.1 200 OK\r\nContent-Type: image/svg+xml\r\nTransfer-Encoding: chunked\r\n"
        head += b"x-ratelimit-limit-requests: 9\r\nopenai-organization: ours\r\nset-cookie: a=b\r\n\r\n"
        connection.sendall(head + b"4\r\nsnd1\r\n")
        if kind == "endless":
            for _ in range(50):  # until the gateway has had enough of it
                connection.sendall(b"4\r\nsnd2\r\n")
                time.sleep(0.1)
        if kind == "broken":
            connection.shutdown(socket.SHUT_RDWR)
        else:
            connection.sendall(b"4\r\nsnd2\r\n0\r\n\r\n")
    else:
        connection.sendall(response(200, json.dumps({"data": [{"index": 0}], "object": "list"}).encode()))


def _answer_response(connection: socket.socket, kind: str, body: dict[str, Any]) -> None:
    if body.get("stream"):
        content = STREAMS[kind]
        connection.sendall(response(200, content, media_type="text/event-stream"))
        return
    whole = {**RESPONSE, "output": ITEMS, **({"usage": USAGE} if kind == "whole" else {})}
    connection.sendall(response(200, json.dumps(whole).encode()))


@pytest.fixture(scope="module")
def upstream() -> Iterator[ScriptedServer]:
    with serving(script) as server:
        yield server


@pytest.fixture(scope="module")
def scripted(lasting_database_url: str, make_lasting_gateway: MakeGateway, upstream: ScriptedServer) -> Gateway:
    gateway = make_lasting_gateway(
        lasting_database_url, upstream_url=upstream.base_url, environment=SHARED_SETTINGS, start=False
    )
    gateway.start_with_users()
    return gateway


class Caller:
    """A user of the gateway, and what the ledger says of its one call."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.token = gateway.sign_in("many")
        self._before = len(endings(gateway.database_url))

    def post(self, path: str, body: dict[str, Any]) -> httpx2.Response:
        return self.gateway.http.post(path, json=body, access_token=self.token)

    def charged(self) -> tuple[str, str, int, int]:
        (call,) = await_endings(self.gateway.database_url, 1, WAIT_S, after=self._before)
        return call.ended, call.source, call.prompt_tokens, call.completion_tokens

    def called_nobody(self) -> bool:
        return len(endings(self.gateway.database_url)) == self._before


@pytest.fixture
def caller(scripted: Gateway) -> Caller:
    return Caller(scripted)


def test_a_streamed_response_comes_to_the_byte_with_its_usage(caller: Caller) -> None:
    made = caller.post("/v1/responses", {"model": "whole", "input": "hello", "stream": True})
    assert made.content == STREAMS["whole"]
    assert caller.charged() == ("completed", "upstream", 11, 7)


def test_a_response_that_failed_is_an_answer_with_its_usage(caller: Caller) -> None:
    made = caller.post("/v1/responses", {"model": "failed", "input": "hello", "stream": True})
    assert made.content == STREAMS["failed"]
    assert caller.charged() == ("completed", "upstream", 11, 7)


@pytest.mark.parametrize(("model", "ended"), [("silent", "completed"), ("broken", "upstream_error")])
def test_a_streamed_response_without_usage_is_counted(caller: Caller, model: str, ended: str) -> None:
    caller.post("/v1/responses", {"model": model, "input": "hello", "stream": True})
    assert caller.charged() == (ended, "counted", 8 + tokens.count_text(model, "hello"), tokens.count_text(model, TEXT))


def test_a_response_without_usage_is_counted_with_its_calls_and_its_reasoning(caller: Caller) -> None:
    made = caller.post("/v1/responses", {"model": "silent", "input": "hello"})
    assert made.json()["output"] == ITEMS
    produced = tokens.count_text("silent", 'Hm.look{"at": "sea"}' + TEXT)
    assert caller.charged() == ("completed", "counted", 8 + tokens.count_text("silent", "hello"), produced)


def test_a_response_of_a_model_that_reasons_unseen_is_charged_at_its_hold_where_nothing_is_reported(
    caller: Caller,
) -> None:
    body = {"model": "silent", "input": "hello", "reasoning": {"effort": "low"}, "max_output_tokens": 77}
    caller.post("/v1/responses", body)
    ended, source, _, completion = caller.charged()
    assert (ended, source, completion) == ("completed", "hold", 77)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("broken", "the upstream broke off its answer"),
        ("error", "Not now."),
        ("nothing", "the upstream sent an event that is no JSON object"),
    ],
)
def test_a_response_that_breaks_ends_in_an_error_event_of_responses(caller: Caller, model: str, said: str) -> None:
    made = caller.post("/v1/responses", {"model": model, "input": "hello", "stream": True})
    name, data = made.content.rstrip(b"\n").split(b"\n\n")[-1].split(b"\n")
    assert name == b"event: error"
    event = json.loads(data.removeprefix(b"data: "))
    assert event.keys() == {"type", "code", "message", "param", "sequence_number"}
    assert (event["type"], event["sequence_number"]) == ("error", 0 if model == "nothing" else 5)
    assert said in event["message"]
    assert caller.charged()[0] == "upstream_error"


def test_speech_that_breaks_off_breaks_the_connection_and_is_charged_all_the_same(caller: Caller) -> None:
    with pytest.raises(httpx2.TransportError):
        caller.post("/v1/audio/speech", {"model": "broken", "input": "hello", "voice": "x"})
    assert caller.charged() == ("upstream_error", "counted", tokens.count_text("broken", "hello"), 0)


def test_who_leaves_while_sound_comes_is_charged_the_text(caller: Caller) -> None:
    body = {"model": "endless", "input": "hello", "voice": "x"}
    with caller.gateway.http.stream("/v1/audio/speech", json=body, access_token=caller.token) as made:
        assert next(made.iter_raw()).startswith(b"snd1")
    assert caller.charged() == ("client_gone", "counted", tokens.count_text("endless", "hello"), 0)


def test_of_the_upstreams_headers_none_reaches_the_client_and_sound_is_never_a_page(caller: Caller) -> None:
    made = caller.post("/v1/audio/speech", {"model": "good", "input": "hello", "voice": "x"})
    assert made.content == b"snd1snd2"
    assert made.headers["content-type"] == "application/octet-stream"
    assert not {"openai-organization", "set-cookie"} & made.headers.keys()
    assert made.headers["x-ratelimit-limit-requests"] != "9"


def test_embeddings_without_usage_are_counted_ids_one_by_one(caller: Caller) -> None:
    assert caller.post("/v1/embeddings", {"model": "m", "input": [[1, 2, 3], [4, 5]]}).status_code == 200
    assert caller.charged() == ("completed", "counted", 5, 0)


REFUSED: list[tuple[str, dict[str, Any], str, str]] = [
    (
        "/v1/responses",
        {"input": "a", "previous_response_id": "resp_1"},
        "previous_response_id",
        "unsupported_parameter",
    ),
    ("/v1/responses", {"input": "a", "conversation": {"id": "c"}}, "conversation", "unsupported_parameter"),
    ("/v1/responses", {"input": "a", "background": True}, "background", "unsupported_parameter"),
    ("/v1/responses", {"input": "a", "prompt": {"id": "p"}}, "prompt", "unsupported_parameter"),
    ("/v1/responses", {"input": "a", "tools": [{"type": "web_search"}]}, "tools[0].type", "unsupported_value"),
    ("/v1/responses", {"input": [{"type": "item_reference", "id": "x"}]}, "input[0].type", "unsupported_parameter"),
    ("/v1/responses", {"input": [{"type": "reasoning", "id": "rs_1"}]}, "input[0]", "unsupported_parameter"),
    (
        "/v1/responses",
        {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}]},
        "input[0].content[0].type",
        "unsupported_parameter",
    ),
    (
        "/v1/responses",
        {"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]},
        "input[0].content[0].type",
        "unsupported_parameter",
    ),
    ("/v1/responses", {}, "input", "missing_required_parameter"),
    ("/v1/embeddings", {"input": []}, "input", "empty_array"),
    ("/v1/embeddings", {"input": [{"image": "x"}]}, "input[0]", "invalid_type"),
    ("/v1/embeddings", {"input": [[-1]]}, "input[0]", "invalid_type"),
    ("/v1/completions", {"prompt": None}, "prompt", "missing_required_parameter"),
    ("/v1/moderations", {"input": [{"type": "video"}]}, "input[0].type", "invalid_value"),
    ("/v1/images/generations", {"prompt": "a", "n": 11}, "n", "integer_above_max_value"),
    ("/v1/images/generations", {"prompt": "a", "output_format": "svg"}, "svg", "unsupported_parameter"),
    ("/v1/images/generations", {}, "prompt", "missing_required_parameter"),
    ("/v1/audio/speech", {"input": "a" * 4097}, "input", "string_above_max_length"),
    ("/v1/audio/speech", {"input": "a", "speed": 9}, "speed", "invalid_value"),
]


@pytest.mark.parametrize(("path", "body", "param", "code"), REFUSED)
def test_what_cannot_be_is_refused_in_openais_words_before_anything_is_held(
    caller: Caller, path: str, body: dict[str, Any], param: str, code: str
) -> None:
    refused = caller.post(path, {"model": "gpt-image-1" if "images" in path else "whole", **body})
    assert refused.status_code == 400
    error = refused.json()["error"]
    assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", param, code)
    assert caller.called_nobody()


@pytest.mark.parametrize("path", ["/v1/images/edits", "/v1/audio/transcriptions", "/v1/audio/translations"])
def test_a_form_without_its_file_is_refused(caller: Caller, path: str) -> None:
    form = {"model": "m", "prompt": "a"}
    refused = caller.gateway.http.upload(path, form, {"other": ("a", b"b", "c/d")}, access_token=caller.token)
    assert refused.status_code == 400
    name = "image" if "images" in path else "file"
    fields = b'--x\r\nContent-Disposition: form-data; name="model"\r\n\r\nm\r\n--x--\r\n'
    kind = {"Content-Type": "multipart/form-data; boundary=x"}
    empty = caller.gateway.http.post(path, access_token=caller.token, content=fields, headers=kind)
    assert (empty.status_code, empty.json()["error"]["param"]) == (400, name)
    no_form = caller.post(path, {"model": "m"})
    assert no_form.status_code == 415
    assert caller.called_nobody()


def test_the_official_client_reads_the_refusals(caller: Caller) -> None:
    with openai.OpenAI(base_url=f"{caller.gateway.base_url}/v1", api_key=caller.token, max_retries=0) as client:
        with pytest.raises(openai.BadRequestError, match="previous_response_id"):
            client.responses.create(model="m", input="a", previous_response_id="resp_of_somebody")
        with pytest.raises(openai.NotFoundError, match="nobody's"):
            client.models.retrieve("nobody's")


def test_models_are_listed_also_where_the_upstream_cannot_list_them(caller: Caller) -> None:
    listed = caller.gateway.http.get("/v1/models", access_token=caller.token).json()
    assert [model["id"] for model in listed["data"]] == ["tiny"]
    one = caller.gateway.http.get("/v1/models/tiny", access_token=caller.token).json()
    assert one == {"id": "tiny", "object": "model", "created": 0, "owned_by": "system"}
    assert caller.called_nobody()
