"""Transcriptions and translations as a client asks for them. Source: OpenAI's API reference, "Create transcription" and
"Create translation".
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from re import Pattern
from typing import ClassVar

from chatapi.domain.bounds import CALL_OVERHEAD, bytes_of_fields
from chatapi.domain.fields import flag, model_of, optional_text, wrong_value
from chatapi.domain.form_fields import one_file_at_least
from chatapi.domain.model_request import Prompt, UnitRequest, Upload

LEAST_BYTES_PER_SECOND = 750
"""Of sound that can be understood: Opus at 6 kbit/s, its lowest (RFC 6716, 2.1.1)."""
AUDIO_TOKENS_PER_SECOND = 10
"""That a model hears: one for each 100 ms. Source: OpenAI's realtime guide, "Managing costs"."""
TEXT_TOKENS_PER_SECOND = 10
"""That are spoken: six at the pace of an auctioneer, and as many as there are marks of time and of speakers."""
LEAST_TEXT_TOKENS = 256
BY_TOKENS = re.compile(r"^gpt-.*transcribe")
FILES = ("file",)


@dataclass(frozen=True, slots=True)
class TranscriptionRequest(UnitRequest):
    """A checked request."""

    form: ClassVar[str] = "/v1/audio/transcriptions"
    paid_by_tokens: ClassVar[Pattern[str]] = BY_TOKENS

    @property
    def units(self) -> int:
        """The most seconds that the files may sound."""
        return math.ceil(sum(file.size for file in self.files) / LEAST_BYTES_PER_SECOND)

    def prompt_bound(self) -> int:
        """The bytes of all fields, and the tokens of so many seconds."""
        heard = AUDIO_TOKENS_PER_SECOND * self.units if self.by_tokens else 0
        return CALL_OVERHEAD + bytes_of_fields(self.body) + heard

    def prompt(self) -> Prompt:
        """The text that guides; sound at its bound, where it is tokens."""
        heard = AUDIO_TOKENS_PER_SECOND * self.units if self.by_tokens else 0
        return Prompt((optional_text(self.body, "prompt") or "",), others=heard)

    def completion_bound(self, default_cap: int) -> tuple[int, int]:
        """What may be said in so many seconds: all or nothing, for no cap makes it less."""
        tokens = LEAST_TEXT_TOKENS + TEXT_TOKENS_PER_SECOND * self.units
        return tokens, tokens


@dataclass(frozen=True, slots=True)
class TranslationRequest(TranscriptionRequest):
    """A checked request."""

    form: ClassVar[str] = "/v1/audio/translations"


def parse_transcription(body: Mapping[str, object], files: tuple[Upload, ...]) -> TranscriptionRequest:
    """Check what OpenAI would refuse for its shape.

    Raises:
        InvalidRequest: in OpenAI's words, naming the parameter.
    """
    _check(body, files)
    return TranscriptionRequest(body, model_of(body), bool(flag(body, "stream")), files=files)


def parse_translation(body: Mapping[str, object], files: tuple[Upload, ...]) -> TranslationRequest:
    """As above; translations are not streamed."""
    _check(body, files)
    return TranslationRequest(body, model_of(body), files=files)


def _check(body: Mapping[str, object], files: tuple[Upload, ...]) -> None:
    model_of(body)
    for file in files:
        if file.field not in FILES:
            raise wrong_value(file.field, FILES)
    one_file_at_least(files, "file")
    for name in ("prompt", "response_format", "language"):
        optional_text(body, name)
