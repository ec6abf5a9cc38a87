"""Speech as a client asks for it. Source: OpenAI's API reference, "Create speech"."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from re import Pattern
from typing import ClassVar

from chatapi.domain.bounds import CALL_OVERHEAD, bytes_of_fields
from chatapi.domain.fields import model_of, optional_text, text, wrong_type, wrong_value
from chatapi.domain.model_request import Prompt, UnitRequest
from chatapi.errors import InvalidRequest

LONGEST_INPUT = 4096  # characters
SLOWEST, FASTEST = 0.25, 4.0
BY_TOKENS = re.compile(r"^gpt-.*tts")
TOKENS_PER_BYTE = 4
"""Of sound, for a byte of text: a token is 50 ms of it, and nobody speaks less than five bytes of text a second."""
PAUSES_TOKENS = 500  # 25 s, for what instructions add before and after
STREAM_FORMATS = ("audio", "sse")


@dataclass(frozen=True, slots=True)
class SpeechRequest(UnitRequest):
    """A checked request. Its reply is always relayed as it comes."""

    form: ClassVar[str] = "/v1/audio/speech"
    paid_by_tokens: ClassVar[Pattern[str]] = BY_TOKENS

    @property
    def units(self) -> int:
        """The characters of the text."""
        return len(text(self.body, "input"))

    def prompt_bound(self) -> int:
        """The bytes of all fields."""
        return CALL_OVERHEAD + bytes_of_fields(self.body)

    def prompt(self) -> Prompt:
        """The text, and how it is to be spoken."""
        return Prompt((text(self.body, "input"), optional_text(self.body, "instructions") or ""))

    def completion_bound(self, default_cap: int) -> tuple[int, int]:
        """The tokens of the sound: all or nothing, for no cap makes them less."""
        if not self.by_tokens:
            return 0, 0
        slowness = max(1.0, 1 / _speed(self.body))
        tokens = math.ceil((TOKENS_PER_BYTE * len(text(self.body, "input").encode()) + PAUSES_TOKENS) * slowness)
        return tokens, tokens


def parse(body: Mapping[str, object]) -> SpeechRequest:
    """Check what OpenAI would refuse for its shape.

    Raises:
        InvalidRequest: in OpenAI's words, naming the parameter.
    """
    model = model_of(body)
    spoken = text(body, "input")
    if len(spoken) > LONGEST_INPUT:
        problem = (
            f"Invalid 'input': string too long. Expected a string with maximum length {LONGEST_INPUT}, but got a "
            f"string with length {len(spoken)} instead."
        )
        raise InvalidRequest(problem, param="input", code="string_above_max_length")
    optional_text(body, "instructions")
    if (optional_text(body, "stream_format") or "audio") not in STREAM_FORMATS:
        raise wrong_value("stream_format", STREAM_FORMATS)
    _speed(body)
    return SpeechRequest(body, model, stream=True)


def _speed(body: Mapping[str, object]) -> float:
    speed = body.get("speed")
    if speed is None:
        return 1.0
    if isinstance(speed, bool) or not isinstance(speed, int | float):
        raise wrong_type("speed", "a decimal number", speed)
    if not SLOWEST <= speed <= FASTEST:
        problem = f"Invalid 'speed': expected a value between {SLOWEST} and {FASTEST}."
        raise InvalidRequest(problem, param="speed", code="invalid_value")
    return float(speed)
