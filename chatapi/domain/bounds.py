"""Bounds: how many tokens a call can use at most, from its body alone.

Every byte-level BPE gives at most one token for each UTF-8 byte, so the bytes of all text in the body bound the prompt
without any tokeniser. Parts that are no text (images, audio) are bounded by a table.
"""

from __future__ import annotations

from collections.abc import Mapping

from chatapi.domain.chat_request import ChatRequest
from chatapi.domain.limits import Need
from chatapi.errors import InvalidRequest

CALL_OVERHEAD = 64  # tokens that a model's chat template adds to a prompt, whatever is in it
MESSAGE_OVERHEAD = 16  # tokens that a chat template adds for each message: role, separators, name
TOOLS_OVERHEAD = 512  # tokens that a chat template adds once tools are there
IMAGE_BOUND = 48_169  # the dearest image of OpenAI's vision guide: 2,833 + 8 tiles of 5,667
LEAST_COMPLETION = 16  # tokens per choice below which a call is not worth sending


def need_of(request: ChatRequest, default_cap: int, prompt_bound: int | None = None) -> Need:
    """The upper bound of a chat completion, in tokens.

    Args:
        request: as checked.
        default_cap: the completion cap per choice, in tokens, where the client asked for none.
        prompt_bound: a tighter bound of the prompt, where one was counted.
    """
    wanted = request.cap if request.cap is not None else default_cap
    return Need(
        prompt_bound=prompt_bound_of(request.body) if prompt_bound is None else prompt_bound,
        completion_wanted=request.choices * wanted,
        completion_least=request.choices * min(wanted, LEAST_COMPLETION),
        choices=request.choices,
    )


def prompt_bound_of(body: Mapping[str, object]) -> int:
    """No prompt made of this body has more tokens than this.

    Raises:
        InvalidRequest: it has a part that nothing here can bound.
    """
    messages = body.get("messages")
    rows = messages if isinstance(messages, list) else []
    overhead = CALL_OVERHEAD + MESSAGE_OVERHEAD * len(rows)
    if body.get("tools") or body.get("functions"):
        overhead += TOOLS_OVERHEAD
    return overhead + sum(_bytes_of(value) for value in body.values())


def _bytes_of(value: object) -> int:
    """The UTF-8 bytes of all text in a JSON value, names of fields included."""
    match value:
        case str():
            return len(value.encode())
        case dict():
            part = _part_bound(value)
            return (
                part if part is not None else sum(len(name.encode()) + _bytes_of(item) for name, item in value.items())
            )
        case list():
            return sum(_bytes_of(item) for item in value)
        case _:
            return len(str(value))


def _part_bound(part: dict[str, object]) -> int | None:
    """The bound of a content part that is no text; None for everything else."""
    match part.get("type"):
        case "image_url" if "image_url" in part:
            return IMAGE_BOUND
        case "input_audio" if isinstance(audio := part.get("input_audio"), dict):
            return sum(len(str(item)) for item in audio.values())
        case "file" if "file" in part:
            problem = "Files in messages are not supported: their tokens cannot be bounded before the call."
            raise InvalidRequest(problem, param="messages", code="unsupported_value")
    return None
