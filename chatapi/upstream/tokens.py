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

from chatapi.domain.bounds import prompt_bound_of

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

NOT_TEXT = {"image_url", "input_audio", "audio", "file", "data", "id", "tool_call_id", "type", "role"}


def has_vocabulary(model: str) -> bool:
    """Whether the model's own vocabulary is here, so that `count_prompt` is a bound; for others it is an estimate."""
    return any(_plain_name(model).startswith(prefix) for prefix, _ in PREFIXES)


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
    return sum(prompt_bound_of({"part": part}) for part in _other_parts(messages if isinstance(messages, list) else []))


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
    """Every text of the body that the model reads."""
    for message in messages:
        yield from _strings(message)
    for field in ("tools", "functions", "response_format"):
        if body.get(field):
            yield orjson.dumps(body[field]).decode()  # longer than what the model is shown of it
    yield from _strings(body.get("prediction"))


def _other_parts(messages: list[Any]) -> Iterator[dict[str, Any]]:
    """The parts of messages that are no text."""
    for message in messages:
        content = message.get("content") if isinstance(message, dict) else None
        for part in content if isinstance(content, list) else []:
            if isinstance(part, dict) and part.get("type") not in {"text", "refusal"}:
                yield part


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)
    elif isinstance(value, dict):
        for name, item in value.items():
            if name not in NOT_TEXT:
                yield from _strings(item)


def _count(encoding: tiktoken.Encoding, text: str) -> int:
    return sum(len(encoding.encode_ordinary(piece)) for piece in _pieces(text))


def _pieces(text: str) -> Iterator[str]:
    return (text[start : start + PIECE_CHARACTERS] for start in range(0, len(text), PIECE_CHARACTERS))


def _encoding(model: str) -> tiktoken.Encoding:
    name = _plain_name(model)
    return _load(next((encoding for prefix, encoding in PREFIXES if name.startswith(prefix)), UNKNOWN_MODELS))


def _plain_name(model: str) -> str:
    """The model's name without `ft:` (a fine-tuned one) and without a vendor in front (`openai/gpt-4o`)."""
    return model.lower().removeprefix("ft:").rpartition("/")[2]


@functools.cache
def _load(name: str) -> tiktoken.Encoding:
    if not (VOCABULARIES / FILES[name]).is_file():  # tiktoken would download it
        raise FileNotFoundError(f"the vocabulary {name} is missing from {VOCABULARIES.name}")
    os.environ["TIKTOKEN_CACHE_DIR"] = str(VOCABULARIES)
    import tiktoken  # slow, and rarely needed

    return tiktoken.get_encoding(name)
