"""Forms with files: bounded, never in memory whole, and sent on as they are."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.gateway import SHARED_SETTINGS, Gateway, MakeGateway
from tests.support.http import exchange_bytes
from tests.support.ledger import endings
from tests.support.postgres import FreshDatabase
from tests.upstream.servers import Request, ScriptedServer, response, serving

LIMIT = 3_000_000
BODY_LIMIT = 100_000
PATH = "/v1/audio/transcriptions"
FORM = {"model": "whisper-1"}


def script(connection: socket.socket, request: Request) -> None:
    """Say how large the form was; a name of the model may ask for something else."""
    if b"refuse" in request.body[:2000]:
        connection.sendall(response(400, b'{"error": {"message": "This is no sound.", "code": "bad_sound"}}'))
        return
    connection.sendall(response(200, json.dumps({"text": str(len(request.body))}).encode()))


@pytest.fixture(scope="module")
def upstream() -> Iterator[ScriptedServer]:
    with serving(script) as server:
        yield server


@pytest.fixture(scope="module")
def gateway(lasting_database: FreshDatabase, make_lasting_gateway: MakeGateway, upstream: ScriptedServer) -> Gateway:
    limits = {"CHATAPI_UPLOAD_LIMIT_BYTES": str(LIMIT), "CHATAPI_BODY_LIMIT_BYTES": str(BODY_LIMIT)}
    made = make_lasting_gateway(
        lasting_database("sqlite"),
        upstream_url=upstream.base_url,
        environment=SHARED_SETTINGS | limits | {"CHATAPI_WORKERS": "1"},
        start=False,
    )
    made.start_with_users()
    return made


def send(gateway: Gateway, size: int, **fields: str) -> tuple[int, object]:
    files = {"file": ("a.wav", b"R" * size, "audio/wav")}
    made = gateway.http.upload(PATH, FORM | fields, files, access_token=gateway.sign_in("many"))
    return made.status_code, made.json()


def test_files_up_to_the_limit_pass_and_larger_ones_do_not(gateway: Gateway, upstream: ScriptedServer) -> None:
    assert send(gateway, LIMIT)[0] == 200
    assert b"R" * LIMIT in upstream.requests[-1].body
    before = len(endings(gateway.database_url))
    for size in (LIMIT + 1, LIMIT + 2 * BODY_LIMIT):
        status, said = send(gateway, size)
        assert (status, said["error"]["type"]) == (413, "invalid_request_error")  # type: ignore[index]
    assert len(endings(gateway.database_url)) == before


def test_fields_are_bounded_as_bodies_are(gateway: Gateway) -> None:
    assert send(gateway, 10, prompt="a" * (BODY_LIMIT // 2))[0] == 200
    assert send(gateway, 10, prompt="a" * (BODY_LIMIT * 2))[0] == 413


@pytest.mark.parametrize("part", ['name="a\\"', 'filename="b"', "noname"])
def test_a_part_whose_name_cannot_be_read_is_refused(gateway: Gateway, upstream: ScriptedServer, part: str) -> None:
    before = len(upstream.requests)
    disposition = "--x\r\nContent-Disposition: form-data; "
    parts = f'{disposition}{part}\r\n\r\na\r\n{disposition}name="file"; filename="b"\r\n\r\na\r\n--x--\r\n'
    kind = {"Content-Type": "multipart/form-data; boundary=x"}
    refused = gateway.http.post(PATH, content=parts.encode(), headers=kind, access_token=gateway.sign_in("many"))
    assert (refused.status_code, refused.json()["error"]["type"]) == (400, "invalid_request_error")
    assert "well formed" in refused.json()["error"]["message"]
    assert len(upstream.requests) == before


def test_a_form_in_chunks_is_bounded_too(gateway: Gateway) -> None:
    head = (
        f"POST {PATH} HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n"
        f"Authorization: Bearer {gateway.sign_in('many')}\r\nContent-Type: multipart/form-data; boundary=x\r\n\r\n"
    )

    def sent(size: int) -> bytes:
        part = 'Content-Disposition: form-data; name="{}"{}\r\n\r\n{}\r\n'
        parts = [part.format("model", "", "whisper-1"), part.format("file", '; filename="a.wav"', "R" * size)]
        form = "".join(f"--x\r\n{each}" for each in parts).encode() + b"--x--\r\n"
        return exchange_bytes(gateway.base_url, head.encode() + b"%x\r\n%b\r\n0\r\n\r\n" % (len(form), form))

    assert sent(1000).startswith(b"HTTP/1.1 200 ")
    assert sent(LIMIT + 2 * BODY_LIMIT).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize(
    "cut", [b"--x", b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nsound']
)
def test_a_form_that_breaks_off_is_refused(gateway: Gateway, cut: bytes) -> None:
    head = (
        f"POST {PATH} HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\nContent-Length: {len(cut)}\r\n"
        f"Authorization: Bearer {gateway.sign_in('many')}\r\nContent-Type: multipart/form-data; boundary=x\r\n\r\n"
    )
    assert exchange_bytes(gateway.base_url, head.encode() + cut).startswith(b"HTTP/1.1 400 ")


def test_what_the_upstream_says_against_a_file_is_passed_on_and_costs_nothing(gateway: Gateway) -> None:
    status, said = send(gateway, 2_000_000, prompt="refuse")
    assert (status, said["error"]["code"]) == (400, "bad_sound")  # type: ignore[index]
    assert endings(gateway.database_url)[-1].kind == ("released", "upstream_error", False, "none")


def test_uploads_do_not_stay_in_memory(gateway: Gateway) -> None:
    """Of the worker's memory: it must not grow by what goes through it."""
    send(gateway, LIMIT)
    before = resident_bytes(gateway)
    for _ in range(12):
        assert send(gateway, LIMIT)[0] == 200
    assert resident_bytes(gateway) - before < 2 * LIMIT


def resident_bytes(gateway: Gateway) -> int:
    """Of the master and its workers."""
    total = 0
    for pid in (gateway.pid, *children(gateway.pid)):
        status = Path(f"/proc/{pid}/status").read_text("utf-8")
        found = re.search(r"VmRSS:\s+(\d+) kB", status)
        total += 1024 * int(found[1]) if found else 0
    return total


def children(pid: int) -> list[int]:
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii")
    return [int(child) for child in listed.split()]
