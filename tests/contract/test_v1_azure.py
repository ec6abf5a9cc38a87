"""Azure OpenAI: every endpoint at the path that its client knows, and completions of models that only chat."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from chatapi.upstream import tokens
from tests.support.gateway import SHARED_SETTINGS, Gateway, MakeGateway
from tests.support.ledger import await_endings, endings
from tests.support.postgres import FreshDatabase
from tests.upstream.servers import Request, ScriptedServer, response, serving

USAGE = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}
HEAD = {"id": "chatcmpl-1", "created": 7, "model": "gpt-4o", "system_fingerprint": "fp"}
FILE = {"file": ("a.wav", b"RIFFsound", "audio/wav")}
IMAGE = {"image": ("a.png", b"\x89PNG", "image/png")}


def choices(part: str, said: dict[str, Any], reason: str | None = None) -> list[dict[str, Any]]:
    return [{"index": 0, part: said, "finish_reason": reason, "logprobs": None}]


def script(connection: socket.socket, request: Request) -> None:
    """Chats and completes by the path, and gives the other endpoints what they need."""
    path = request.target.partition("?")[0]
    body = json.loads(request.body) if request.headers["content-type"].startswith("application/json") else {}
    if path.endswith("/chat/completions") and body.get("stream"):
        said: list[dict[str, Any]] = [
            {"choices": choices("delta", {"role": "assistant", "content": ""}), "usage": None},
            {"choices": choices("delta", {"content": "The sea"}), "usage": None},
            {"choices": choices("delta", {"content": " is."}), "usage": None},
            {"choices": choices("delta", {}, "stop"), "usage": None},
            {"choices": [], "usage": USAGE},
        ]
        events = [json.dumps({**HEAD, "object": "chat.completion.chunk", **each}) for each in said]
        content = "".join(f"data: {event}\n\n" for event in [*events, "[DONE]"]).encode()
        connection.sendall(response(200, content, media_type="text/event-stream"))
        return
    answer: dict[str, Any] = {"data": [{"b64_json": "AA=="}], "results": [{}], "output": [], "text": "The sea."}
    if path.endswith("/chat/completions"):
        answer = {**HEAD, "choices": choices("message", {"role": "assistant", "content": "The sea is."}, "stop")}
    elif path.endswith("/completions"):
        answer = {**HEAD, "choices": [{"index": 0, "text": "The sea is.", "finish_reason": "stop", "logprobs": None}]}
    connection.sendall(response(200, json.dumps({**answer, "usage": USAGE}).encode()))


@pytest.fixture(scope="module")
def azure() -> Iterator[ScriptedServer]:
    with serving(script) as server:
        yield server


@pytest.fixture(scope="module")
def gateway(lasting_database: FreshDatabase, make_lasting_gateway: MakeGateway, azure: ScriptedServer) -> Gateway:
    at = {"AZURE_OPENAI_ENDPOINT": f"http://127.0.0.1:{azure.port}", "AZURE_OPENAI_API_KEY": "an-azure-key"}
    made = make_lasting_gateway(
        lasting_database("sqlite"), upstream_url=None, environment=SHARED_SETTINGS | at, start=False
    )
    made.start_with_users()
    return made


@pytest.fixture
def token(gateway: Gateway) -> str:
    return gateway.sign_in("many")


DEPLOYED = ["embeddings", "images/generations", "completions", "chat/completions"]


@pytest.mark.parametrize("path", [*DEPLOYED, "responses", "moderations"])
def test_every_endpoint_is_asked_where_azure_has_it(
    gateway: Gateway, azure: ScriptedServer, token: str, path: str
) -> None:
    body = {"model": "davinci-002", "input": "a", "prompt": "a", "messages": [{"role": "user", "content": "a"}]}
    if path == "responses":
        del body["prompt"]
    assert gateway.http.post(f"/v1/{path}", json=body, access_token=token).status_code == 200
    asked = azure.requests[-1]
    place = "/openai/deployments/davinci-002/" if path in DEPLOYED else "/openai/"
    assert asked.target == f"{place}{path}?api-version=2024-10-21"
    assert asked.headers["api-key"] == "an-azure-key"
    assert json.loads(asked.body) == body


@pytest.mark.parametrize("path", ["audio/transcriptions", "audio/translations", "images/edits"])
def test_forms_are_asked_where_azure_has_them(gateway: Gateway, azure: ScriptedServer, token: str, path: str) -> None:
    fields = {"model": "whisper-1", "prompt": 'ä"\r\nx', "temperature": "0.5"}
    files = IMAGE if path == "images/edits" else FILE
    assert gateway.http.upload(f"/v1/{path}", fields, files, access_token=token).status_code == 200
    asked = azure.requests[-1]
    assert asked.target == f"/openai/deployments/whisper-1/{path}?api-version=2024-10-21"
    assert len(asked.body) == int(asked.headers["content-length"])
    name, (filename, content, kind) = next(iter(files.items()))
    head = f'Content-Disposition: form-data; name="{name}"; filename="{filename}"\r\nContent-Type: {kind}\r\n\r\n'
    assert head.encode() + content + b"\r\n" in asked.body
    assert b'name="prompt"\r\n\r\n' + 'ä"\r\nx'.encode() + b"\r\n" in asked.body
    assert b'name="temperature"\r\n\r\n0.5\r\n' in asked.body


def test_a_completion_of_a_model_that_only_chats_is_asked_as_a_chat(
    gateway: Gateway, azure: ScriptedServer, token: str
) -> None:
    before = len(endings(gateway.database_url))
    with openai.OpenAI(base_url=f"{gateway.base_url}/v1", api_key=token, max_retries=0) as client:
        made = client.completions.create(model="gpt-4o", prompt="Hello?", stop="\n", temperature=0.1, best_of=1)
    assert (made.object, made.id, made.choices[0].text) == ("text_completion", "chatcmpl-1", "The sea is.")
    assert made.choices[0].finish_reason == "stop"
    assert made.usage is not None and made.usage.total_tokens == 12
    asked = azure.requests[-1]
    assert asked.target == "/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21"
    assert json.loads(asked.body) == {
        "model": "gpt-4o", "messages": [{"role": "user", "content": "Hello?"}], "stop": "\n", "temperature": 0.1,
        "max_tokens": 16,
    }  # fmt: skip
    (call,) = await_endings(gateway.database_url, 1, 5, after=before)
    assert (call.source, call.prompt_tokens, call.completion_tokens) == ("upstream", 9, 3)


@pytest.mark.parametrize("include_usage", [False, True])
def test_its_stream_is_one_of_a_completion(gateway: Gateway, token: str, include_usage: bool) -> None:
    options = {"stream_options": {"include_usage": True}} if include_usage else {}
    body = {"model": "gpt-4o", "prompt": "Hello?", "stream": True, **options}
    made = gateway.http.post("/v1/completions", json=body, access_token=token)
    *events, end, rest = made.text.split("\n\n")
    assert (end, rest) == ("data: [DONE]", "")
    said = [json.loads(event.removeprefix("data: ")) for event in events]
    assert {each["object"] for each in said} == {"text_completion"}
    assert "".join(choice["text"] for each in said for choice in each["choices"]) == "The sea is."
    assert [choice["finish_reason"] for each in said for choice in each["choices"]] == [None, None, "stop"]
    assert [each["usage"] for each in said if each.get("usage")] == ([USAGE] if include_usage else [])


@pytest.mark.parametrize(
    "asked",
    [{"suffix": "x"}, {"echo": True}, {"best_of": 3}, {"logprobs": 0}, {"prompt": ["a", "b"]}, {"prompt": [1, 2]}],
    ids=str,
)
def test_what_a_chat_cannot_do_exactly_is_refused(gateway: Gateway, token: str, asked: dict[str, Any]) -> None:
    before = len(endings(gateway.database_url))
    refused = gateway.http.post("/v1/completions", json={"model": "gpt-4o", "prompt": "a", **asked}, access_token=token)
    assert refused.status_code == 400
    error = refused.json()["error"]
    assert (error["param"], error["code"]) == (next(iter(asked)), "unsupported_parameter")
    assert "only chats" in error["message"]
    assert len(endings(gateway.database_url)) == before


def test_a_model_that_completes_is_asked_for_what_a_chat_cannot(
    gateway: Gateway, azure: ScriptedServer, token: str
) -> None:
    body = {"model": "gpt-3.5-turbo-instruct", "prompt": ["a", "b"], "echo": True, "suffix": "x", "logprobs": 2}
    assert gateway.http.post("/v1/completions", json=body, access_token=token).status_code == 200
    assert json.loads(azure.requests[-1].body) == body
    assert tokens.has_vocabulary("gpt-3.5-turbo-instruct")
