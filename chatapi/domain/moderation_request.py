"""A moderation as a client asks for it. Source: OpenAI's API reference, "Create moderation".

OpenAI reports no usage of moderations and charges nothing for them; the tokens that are sent are counted here, and
charged as such, because a limit on tokens is one on all that is sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from chatapi.domain.bounds import CALL_OVERHEAD, bytes_of, part_bound
from chatapi.domain.fields import empty, missing, model_of, wrong_type, wrong_value
from chatapi.domain.model_request import ModelRequest, Prompt

DEFAULT_MODEL = "omni-moderation-latest"
PARTS = ("text", "image_url")
EXPECTED = "a string, an array of strings or an array of objects"


@dataclass(frozen=True, slots=True)
class ModerationRequest(ModelRequest):
    """A checked request."""

    form: ClassVar[str] = "/v1/moderations"

    def prompt_bound(self) -> int:
        """The bytes of the texts, and the bound of the images."""
        return CALL_OVERHEAD + sum(
            bytes_of(item) if isinstance(item, str) else part_bound(item) for item in _items(self.body)
        )

    def prompt(self) -> Prompt:
        """The texts; images at their bound."""
        items = _items(self.body)
        parts = [item for item in items if isinstance(item, dict)]
        texts = [item for item in items if isinstance(item, str)]
        texts += [str(part.get("text")) for part in parts if part.get("type") == "text"]
        return Prompt(tuple(texts), others=sum(part_bound(part) for part in parts if part.get("type") != "text"))


def parse(body: Mapping[str, object]) -> ModerationRequest:
    """Check what OpenAI would refuse for its shape.

    Raises:
        InvalidRequest: in OpenAI's words, naming the parameter.
    """
    model = DEFAULT_MODEL if body.get("model") is None else model_of(body)
    given = body.get("input")
    if given is None:
        raise missing("input")
    if not isinstance(given, str | list):
        raise wrong_type("input", EXPECTED, given)
    items = _items(body)
    if not items:
        raise empty("input")
    for position, item in enumerate(items):
        if isinstance(item, dict) and item.get("type") not in PARTS:
            raise wrong_value(f"input[{position}].type", PARTS)
        if not isinstance(item, str | dict):
            raise wrong_type(f"input[{position}]", "a string or an object", item)
    return ModerationRequest(body, model)


def _items(body: Mapping[str, object]) -> list[object]:
    given = body.get("input")
    return given if isinstance(given, list) else [given]
