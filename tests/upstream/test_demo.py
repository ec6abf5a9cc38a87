"""The demo upstream, called by the official client over real HTTP, and as a process that ends when it should."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

from chatapi.upstream import tokens
from chatapi.upstream.demo import DemoServer
from chatapi.upstream.demo_process import start_demo
from tests.upstream.servers import upstream_at

ROOT = Path(__file__).resolve().parents[2]
ECHO = "This is ChatAPI's demo upstream. You said: "


@pytest.fixture(scope="module")
def demo() -> Iterator[DemoServer]:
    server = DemoServer("127.0.0.1", 0)
    server.daemon_threads = False
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def client(demo: DemoServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=demo.base_url, api_key="any", max_retries=0) as client:
        yield client


def test_it_answers_any_model_with_real_token_counts(client: openai.OpenAI) -> None:
    reply = client.chat.completions.create(model="any-model", messages=[{"role": "user", "content": "Hi, you."}])
    assert reply.model == "any-model"
    assert reply.choices[0].message.content == ECHO + "Hi, you."
    assert reply.choices[0].finish_reason == "stop"
    assert reply.usage is not None
    assert reply.usage.completion_tokens == tokens.count_text("any-model", ECHO + "Hi, you.")
    assert reply.usage.prompt_tokens > tokens.count_text("any-model", "Hi, you.")
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens
    assert reply._request_id


@pytest.mark.parametrize("include_usage", [False, True])
def test_it_streams_word_by_word(client: openai.OpenAI, include_usage: bool) -> None:
    chunks = list(
        client.chat.completions.create(
            model="m",
            messages=[{"role": "user", "content": "One  two\nthree "}],
            stream=True,
            stream_options={"include_usage": include_usage},
        )
    )
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == ECHO + "One  two\nthree "
    assert [chunk.usage is not None for chunk in chunks].count(True) == include_usage
    assert sum(1 for chunk in chunks if chunk.choices and chunk.choices[0].finish_reason) == 1


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_it_keeps_to_the_completion_cap(client: openai.OpenAI, name: str) -> None:
    reply = client.chat.completions.create(model="m", messages=[{"role": "user", "content": "x"}], extra_body={name: 5})
    assert reply.choices[0].finish_reason == "length"
    assert reply.usage is not None
    assert reply.usage.completion_tokens == 5
    assert reply.choices[0].message.content
    assert ECHO.startswith(reply.choices[0].message.content)


def test_it_gives_n_choices_and_counts_each(client: openai.OpenAI) -> None:
    reply = client.chat.completions.create(model="m", messages=[{"role": "user", "content": "x"}], n=3, max_tokens=4)
    assert [choice.index for choice in reply.choices] == [0, 1, 2]
    assert reply.usage is not None
    assert reply.usage.completion_tokens == 12
    stream = client.chat.completions.create(model="m", messages=[{"role": "user", "content": "x"}], n=2, stream=True)
    assert {chunk.choices[0].index for chunk in stream} == {0, 1}


def test_it_lists_models(client: openai.OpenAI) -> None:
    assert "gpt-4o-mini" in [model.id for model in client.models.list()]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"model": "", "messages": [{"role": "user", "content": "x"}]},
        {"model": "m"},
        {"model": "m", "messages": []},
        {"model": "m", "messages": "x"},
        {"model": "m", "messages": ["x"]},
        {"model": "m", "messages": [{"content": "x"}]},
        {"model": "m", "messages": [{"role": "user", "content": "x"}], "max_tokens": 0},
        {"model": "m", "messages": [{"role": "user", "content": "x"}], "n": "2"},
        {"model": "m", "messages": [{"role": "user", "content": "x"}], "n": 1000},
    ],
)
def test_a_bad_shape_is_refused_as_openai_does(client: openai.OpenAI, body: dict[str, object]) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.post("/chat/completions", body=body, cast_to=object)
    assert caught.value.type == "invalid_request_error"


def test_it_keeps_a_connection_through_good_and_bad_requests(demo: DemoServer) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", demo.server_address[1])
    good = json.dumps({"model": "m", "messages": [{"role": "user", "content": "x"}]})
    statuses = []
    requests = [("POST", good), ("POST", "{"), ("POST", "[1]"), ("GET", None), ("POST", good)]
    for method, body in requests:
        connection.request(method, "/v1/chat/completions", body)
        port = connection.sock.getsockname()[1]
        reply = connection.getresponse()
        statuses.append(reply.status)
        assert json.loads(reply.read())
        assert reply.getheader("x-request-id")
        assert connection.sock.getsockname()[1] == port
    connection.request("POST", "/v1/nothing", good)
    statuses.append(connection.getresponse().status)
    connection.close()
    assert statuses == [200, 400, 400, 404, 200, 404]


def test_the_gateways_own_client_gets_on_with_it(demo: DemoServer) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}], "stream_options": {"include_usage": True}}
    with upstream_at(demo.base_url) as upstream:
        reply = upstream.complete(body, call_id="call-1")
        stream = upstream.open(body, call_id="call-2")
        events = list(stream)
    assert reply.text == "".join(event.text for event in events) == ECHO + "x"
    assert reply.usage == stream.stream.usage()
    assert stream.stream.done


def test_it_serves_on_loopback_only() -> None:
    with pytest.raises(ValueError, match="loopback"):
        DemoServer("0.0.0.0", 0)


def wait_for_end(base_url: str) -> None:
    """Until nobody listens there any more."""
    port = int(base_url.rpartition(":")[2].partition("/")[0])
    for _ in range(200):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.connect()
        except OSError:
            return
        finally:
            connection.close()
        time.sleep(0.05)
    raise AssertionError("the demo upstream is still there")


def close(process: subprocess.Popen[bytes]) -> None:
    process.wait(10)
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()


def test_the_process_answers_and_ends_on_sigterm() -> None:
    process, base_url = start_demo()
    try:
        with upstream_at(base_url) as upstream:
            body = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
            assert upstream.complete(body, call_id="call-1").text == ECHO + "x"
    finally:
        process.terminate()
        close(process)
    assert process.returncode == 0


# Starts the demo, becomes another program by exec (as `chatapi serve` becomes gunicorn), and waits to be killed.
PARENT = """
import os, sys
from chatapi.upstream.demo_process import start_demo
process, base_url = start_demo()
print(base_url, flush=True)
os.execv("/bin/sh", ["sh", "-c", "echo became another; read line"])
"""


def test_the_process_survives_its_parents_exec_and_ends_with_it_even_by_sigkill() -> None:
    command = [sys.executable, "-c", PARENT]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT) as parent:
        assert parent.stdout is not None
        base_url = parent.stdout.readline().decode().strip()
        assert parent.stdout.readline() == b"became another\n"
        with upstream_at(base_url) as upstream:
            body = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
            assert upstream.complete(body, call_id="call-1").text == ECHO + "x"
        os.kill(parent.pid, signal.SIGKILL)
        wait_for_end(base_url)
