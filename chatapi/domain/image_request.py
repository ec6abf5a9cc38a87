"""Images as a client asks for them. Source: OpenAI's API reference, "Create image" and "Create image edit"; the tokens
of an image: OpenAI's image generation guide, "Cost and latency".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from re import Pattern
from typing import ClassVar

from chatapi.domain.bounds import CALL_OVERHEAD, IMAGE_BOUND, bytes_of_fields
from chatapi.domain.fields import flag, model_of, number, optional_text, text, unsupported, wrong_value
from chatapi.domain.form_fields import one_file_at_least
from chatapi.domain.model_names import plain_name
from chatapi.domain.model_request import Prompt, UnitRequest, Upload

MOST_IMAGES = 10
MOST_PARTIAL_IMAGES = 3
BY_TOKENS = re.compile(r"^(gpt-image|chatgpt-image)")
PUBLISHED = re.compile(r"^gpt-image-1(-mini|\.5)?($|-\d{4})")
"""The models whose images' tokens are published, by quality and size:"""
OUTPUT_TOKENS = {
    "low": {"1024x1024": 272, "1024x1536": 408, "1536x1024": 400},
    "medium": {"1024x1024": 1056, "1024x1536": 1584, "1536x1024": 1568},
    "high": {"1024x1024": 4160, "1024x1536": 6240, "1536x1024": 6208},
}
UNPUBLISHED_TOKENS_PER_PIXEL = 4 * 4160 / 1024**2
"""Of the others: four times the highest that is published. An assumption, not a figure of OpenAI's."""
LARGEST_PIXELS = 3840 * 2160
PARTIAL_TOKENS = 100  # of each partial image that is streamed
TEXT_TOKENS = 1024  # that newer models may write beside an image
SIZE = re.compile(r"^(\d{2,4})x(\d{2,4})$")
FILES = ("image", "image[]", "mask", "markup")


@dataclass(frozen=True, slots=True)
class ImageRequest(UnitRequest):
    """A checked request for images, made from a prompt."""

    form: ClassVar[str] = "/v1/images/generations"
    paid_by_tokens: ClassVar[Pattern[str]] = BY_TOKENS

    @property
    def units(self) -> int:
        """The images that are asked for."""
        return number(self.body, "n", 1, MOST_IMAGES) or 1

    def prompt_bound(self) -> int:
        """The bytes of all fields, and the bound of each image."""
        return CALL_OVERHEAD + bytes_of_fields(self.body) + IMAGE_BOUND * len(self.files)

    def prompt(self) -> Prompt:
        """The prompt's text; images at their bound, where they are tokens."""
        return Prompt((text(self.body, "prompt"),), others=IMAGE_BOUND * len(self.files) if self.by_tokens else 0)

    def completion_bound(self, default_cap: int) -> tuple[int, int]:
        """The tokens of the images: all or nothing, for no cap makes them less."""
        if not self.by_tokens:
            return 0, 0
        partial = number(self.body, "partial_images", 0, MOST_PARTIAL_IMAGES) or 0
        frames = number(self.body, "frame_count", 1, 16) or (9 if self.body.get("output_format") == "gif" else 1)
        tokens = self.units * (frames * self._tokens_of_one() + PARTIAL_TOKENS * partial + TEXT_TOKENS)
        return tokens, tokens

    def _tokens_of_one(self) -> int:
        quality, size = str(self.body.get("quality") or "auto"), str(self.body.get("size") or "auto")
        if PUBLISHED.match(plain_name(self.model)):
            sizes = OUTPUT_TOKENS.get(quality, OUTPUT_TOKENS["high"])
            return sizes.get(size, max(sizes.values()))
        sides = SIZE.match(size)
        pixels = int(sides[1]) * int(sides[2]) if sides else LARGEST_PIXELS
        return int(pixels * UNPUBLISHED_TOKENS_PER_PIXEL) + 1


@dataclass(frozen=True, slots=True)
class ImageEditRequest(ImageRequest):
    """A checked request for images, made from others."""

    form: ClassVar[str] = "/v1/images/edits"


def parse(body: Mapping[str, object]) -> ImageRequest:
    """Check what OpenAI would refuse for its shape.

    Raises:
        InvalidRequest: in OpenAI's words, naming the parameter.
    """
    request = ImageRequest(body, model_of(body), bool(flag(body, "stream")))
    _check(request)
    return request


def parse_edit(body: Mapping[str, object], files: tuple[Upload, ...]) -> ImageEditRequest:
    """As `parse`, of a form with files."""
    for file in files:
        if file.field not in FILES:
            raise wrong_value(file.field, FILES)
    one_file_at_least(files, "image")
    request = ImageEditRequest(body, model_of(body), bool(flag(body, "stream")), files=files)
    _check(request)
    return request


def _check(request: ImageRequest) -> None:
    body = request.body
    text(body, "prompt")
    for name in ("size", "quality", "output_format"):
        optional_text(body, name)
    if body.get("svg") is not None or body.get("output_format") == "svg":
        raise unsupported("svg", "The tokens that its author takes cannot be bounded before the call.")
    if request.by_tokens:
        request.completion_bound(0)  # checks the numbers
    else:
        number(body, "n", 1, MOST_IMAGES)
