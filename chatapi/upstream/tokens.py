"""Tokens counted here, offline, where no upstream tells: tiktoken with the vocabularies that ship with the package.

Loading a vocabulary takes 0.3 s and 60 MB, so it waits until somebody counts.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from chatapi.domain import chat_prompt
from chatapi.domain.model_names import plain_name
from chatapi.domain.model_request import Prompt

if TYPE_CHECKING:
    import tiktoken

VOCABULARIES = Path(__file__).resolve().parent.parent / "data" / "vocabularies"
FILES = {  # by tiktoken's naming: the SHA-1 of the address that it would download from
    "o200k_base": "fb374d419588a4632f3f557e76b4b70aebbca790",
    "cl100k_base": "9b5ad71b2ce5302211f9c61530b329a4922fc6a4",
}
UNKNOWN_MODELS = "o200k_base"
PREFIXES = (  # the first that fits
    ("gpt-4o", "o200k_base"),
    ("gpt-4.1", "o200k_base"),
    ("gpt-4.5", "o200k_base"),
    ("chatgpt-4o", "o200k_base"),
    ("gpt-5", "o200k_base"),
    ("o1", "o200k_base"),
    ("o3", "o200k_base"),
    ("o4", "o200k_base"),
    ("gpt-4", "cl100k_base"),
    ("gpt-3.5", "cl100k_base"),
    ("gpt-35", "cl100k_base"),  # Azure's spelling
    ("text-embedding-", "cl100k_base"),
)

PIECE_CHARACTERS = 4000
"""Text is encoded in pieces of this size, because tiktoken's time grows with the square of a run of one character (and
its regular expression overflows on a megabyte of them). A cut can only add tokens, about one a piece."""


def has_vocabulary(model: str) -> bool:
    """Whether the model's own vocabulary is here, so that `count_prompt` is a bound; for others it is an estimate."""
    return any(plain_name(model).startswith(prefix) for prefix, _ in PREFIXES)


def count_texts(model: str, texts: Iterable[str]) -> int:
    """The tokens of several texts, each by itself."""
    encoding = _encoding(model)
    return sum(_count(encoding, text) for text in texts)


def count_text(model: str, text: str) -> int:
    """The tokens of `text` in the model's vocabulary (the newest one for unknown models). `<|…|>` is plain text."""
    return _count(_encoding(model), text)


def measure_prompt(model: str, body: Mapping[str, object]) -> int:
    """The prompt tokens of a chat completion's body, as OpenAI publishes the counting. What is no text counts 0."""
    framing = chat_prompt.framing_tokens(chat_prompt.messages_of(body))
    return framing + count_texts(model, chat_prompt.texts_of(body))


def count_prompt(model: str, prompt: Prompt) -> int:
    """An upper bound of the tokens of a prompt: what is counted, what cannot be, and a margin.

    It bounds only if `has_vocabulary(model)`.
    """
    return charged_prompt(model, prompt) + prompt.margin


def charged_prompt(model: str, prompt: Prompt) -> int:
    """The tokens of a prompt, as well as they are known here; what is no text at its bound."""
    return prompt.tokens + prompt.others + count_texts(model, prompt.texts)


def cut_text(model: str, text: str, most: int) -> str:
    """The beginning of `text` that has at most `most` tokens."""
    encoding = _encoding(model)
    kept: list[str] = []
    for piece in _pieces(text):
        encoded = encoding.encode_ordinary(piece)
        kept.append(encoding.decode(encoded[:most], errors="ignore"))
        most -= len(encoded)
        if most <= 0:
            break
    return "".join(kept)


def _count(encoding: tiktoken.Encoding, text: str) -> int:
    return sum(len(encoding.encode_ordinary(piece)) for piece in _pieces(text))


def _pieces(text: str) -> Iterator[str]:
    return (text[start : start + PIECE_CHARACTERS] for start in range(0, len(text), PIECE_CHARACTERS))


def _encoding(model: str) -> tiktoken.Encoding:
    name = plain_name(model)
    return _load(next((encoding for prefix, encoding in PREFIXES if name.startswith(prefix)), UNKNOWN_MODELS))


@functools.cache
def _load(name: str) -> tiktoken.Encoding:
    if not (VOCABULARIES / FILES[name]).is_file():  # tiktoken would download it
        raise FileNotFoundError(f"the vocabulary {name} is missing from {VOCABULARIES.name}")
    os.environ["TIKTOKEN_CACHE_DIR"] = str(VOCABULARIES)
    import tiktoken  # slow, and rarely needed

    return tiktoken.get_encoding(name)
