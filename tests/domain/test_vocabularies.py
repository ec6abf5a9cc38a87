"""The tokeniser's vocabularies come with the package: counting never needs the network."""

from __future__ import annotations

import socket
from importlib.resources import files
from pathlib import Path

import pytest
import tiktoken.load
from tiktoken_ext import openai_public

VOCABULARIES = Path(str(files("chatapi"))) / "data" / "vocabularies"
SAMPLE = "Grüße, 世界! def f(x): return x ** 2  # <|endoftext|>"


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what is in the package may be read."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the network was asked for a vocabulary")

    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(VOCABULARIES))
    monkeypatch.setattr(tiktoken.load, "read_file", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize(
    ("name", "known_text", "known_tokens"),
    [("cl100k_base", "hello world", [15339, 1917]), ("o200k_base", "hello world", [24912, 2375])],
)
def test_an_encoding_is_loaded_without_the_network_and_encodes(
    name: str, known_text: str, known_tokens: list[int]
) -> None:
    # Made anew, with tiktoken's own check of the hash: get_encoding() would answer from what an earlier test loaded.
    encoding = tiktoken.Encoding(**openai_public.ENCODING_CONSTRUCTORS[name]())
    assert encoding.encode(known_text) == known_tokens
    assert encoding.decode(encoding.encode(SAMPLE, disallowed_special=())) == SAMPLE
