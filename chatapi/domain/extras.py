"""What a call used besides tokens of text: dearer tokens, and images, seconds, characters and searches."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple

DEARER = frozenset({"cache_write_tokens", "audio_tokens", "image_tokens"})
OTHER = ""  # the price of a unit whose variant has none of its own


class Unit(StrEnum):
    """What is billed besides tokens."""

    IMAGE = "image"
    SECOND = "second"
    CHARACTER = "character"
    WEB_SEARCH = "web_search"
    FILE_SEARCH = "file_search"


MEASURES = (Unit.IMAGE, Unit.SECOND, Unit.CHARACTER)  # of the whole call, as tokens are; the others come on top


class Extras(NamedTuple):
    """What a call used besides tokens of text: which tokens were of a dearer kind, and what is no token.

    `image` is the variant of all images, "1024x1024/hd" (size/quality) or "1024x1024". Audio and image tokens and
    cache writes are part of the prompt's (of the completion's) tokens.
    """

    cache_write_tokens: int = 0
    prompt_audio_tokens: int = 0
    prompt_image_tokens: int = 0
    completion_audio_tokens: int = 0
    completion_image_tokens: int = 0
    images: int = 0
    image: str = OTHER
    seconds: int = 0
    characters: int = 0
    web_searches: int = 0
    file_searches: int = 0

    def plus(self, other: Extras) -> Extras:
        """What both used together; the images are taken for the first one's."""
        sums = {name: getattr(self, name) + getattr(other, name) for name in self._fields if name != "image"}
        return self._replace(**sums)

    def of(self, unit: Unit) -> int:
        """How many of one unit."""
        match unit:
            case Unit.IMAGE:
                return self.images
            case Unit.SECOND:
                return self.seconds
            case Unit.CHARACTER:
                return self.characters
            case Unit.WEB_SEARCH:
                return self.web_searches
            case Unit.FILE_SEARCH:
                return self.file_searches


NOTHING_ELSE = Extras()


def reported_extras(prompt_details: Mapping[str, object], completion_details: Mapping[str, object]) -> Extras:
    """The dearer tokens that the details of a report of usage name. Source: as `Usage.reported`."""
    if not (DEARER.intersection(prompt_details) or DEARER.intersection(completion_details)):
        return NOTHING_ELSE  # nearly always
    return Extras(
        cache_write_tokens=_count(prompt_details, "cache_write_tokens"),
        prompt_audio_tokens=_count(prompt_details, "audio_tokens"),
        prompt_image_tokens=_count(prompt_details, "image_tokens"),
        completion_audio_tokens=_count(completion_details, "audio_tokens"),
        completion_image_tokens=_count(completion_details, "image_tokens"),
    )


def _count(details: Mapping[str, object], name: str) -> int:
    count = details.get(name)
    return count if isinstance(count, int) and not isinstance(count, bool) and count > 0 else 0
