"""Tokens counted here, offline, where no upstream tells: tiktoken with the vocabularies that ship with the package.

Loading a vocabulary takes 0.3 s and 60 MB, so it waits until somebody counts.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from chatapi.domain.bounds import part_bound
from chatapi.domain.model_names import plain_name

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

MESSAGE_TOKENS = 4
"""Three that frame a message and one for its role. Source: OpenAI's cookbook, "How to count tokens with tiktoken"."""
REPLY_TOKENS = 3
"""What primes the reply; the same source."""
MARGIN_PER_MESSAGE = 4
MARGIN_PER_BODY = 16
"""The margins of `count_prompt`: the framing of newer models, tools and schemas is not published."""

TEXT_PARTS = frozenset({"text", "refusal"})
TEXT_FIELDS = frozenset({"content", "name", "refusal"})
"""Of a message; its other fields are counted as JSON, their names with them."""
NOT_READ = frozenset({
    "model", "messages", "stream", "stream_options", "n", "stop", "seed", "user", "metadata", "store", "logit_bias",
    "logprobs", "top_logprobs", "modalities", "audio", "reasoning_effort", "verbosity", "service_tier",
    "safety_identifier", "prompt_cache_key", "prompt_cache_retention", "parallel_tool_calls", "tool_choice",
    "function_call",
})  # fmt: skip
"""The documented fields of a body that are no part of the prompt. All others are counted, also those unknown here."""


def has_vocabulary(model: str) -> bool:
    """Whether the model's own vocabulary is here, so that `count_prompt` is a bound; for others it is an estimate."""
    return any(plain_name(model).startswith(prefix) for prefix, _ in PREFIXES)


def count_text(model: str, text: str) -> int:
    """The tokens of `text` in the model's vocabulary (the newest one for unknown models). `<|…|>` is plain text."""
    return _count(_encoding(model), text)


def measure_prompt(model: str, body: Mapping[str, object]) -> int:
    """The prompt tokens of a chat completion's body, as OpenAI publishes the counting. What is no text counts 0."""
    encoding = _encoding(model)
    messages = body.get("messages")
    messages = messages if isinstance(messages, list) else []
    framing = MESSAGE_TOKENS * len(messages) + REPLY_TOKENS
    return framing + sum(_count(encoding, text) for text in _texts(body, messages))


def count_prompt(model: str, body: Mapping[str, object]) -> int:
    """An upper bound of the prompt tokens of a chat completion: `measure_prompt` and a margin.

    Parts that are no text enter with their bound. It all bounds only if `has_vocabulary(model)`.

    Raises:
        InvalidRequest: a part has no bound.
    """
    messages = body.get("messages")
    margin = MARGIN_PER_BODY + MARGIN_PER_MESSAGE * (len(messages) if isinstance(messages, list) else 0)
    return measure_prompt(model, body) + margin + bound_of_other_parts(body)


def bound_of_other_parts(body: Mapping[str, object]) -> int:
    """The bound of the parts that are no text, which nobody here can measure; 0 when there are none."""
    messages = body.get("messages")
    return sum(part_bound(part) for part in _other_parts(messages if isinstance(messages, list) else []))


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


def _texts(body: Mapping[str, object], messages: list[Any]) -> Iterator[str]:
    """Every text of the body that the model may read, but for the parts that are no text."""
    for message in messages:
        yield from _texts_of_message(message) if isinstance(message, dict) else (_json(message),)
    for name, value in body.items():
        if name not in NOT_READ and value is not None and not isinstance(value, int | float):
            yield value if isinstance(value, str) else _json(value)  # longer than what the model is shown of it


def _texts_of_message(message: dict[str, Any]) -> Iterator[str]:
    for name, value in message.items():
        if name == "content" and isinstance(value, list):
            yield from (text for part in value if _is_text(part) for text in _texts_of_part(part))
        elif name in TEXT_FIELDS and isinstance(value, str):
            yield value
        elif name != "role" and not (name in TEXT_FIELDS and value is None):  # the framing has the role
            yield _json({name: value})


def _texts_of_part(part: dict[str, Any]) -> Iterator[str]:
    for name, value in part.items():
        if name != "type":
            yield value if name in TEXT_PARTS and isinstance(value, str) else _json({name: value})


def _other_parts(messages: list[Any]) -> Iterator[object]:
    """The parts of messages that are no text."""
    for message in messages:
        content = message.get("content") if isinstance(message, dict) else None
        yield from (part for part in content if not _is_text(part)) if isinstance(content, list) else ()


def _is_text(part: object) -> bool:
    return isinstance(part, dict) and part.get("type") in TEXT_PARTS


def _json(value: object) -> str:
    return orjson.dumps(value).decode()


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
