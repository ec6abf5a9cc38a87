"""Prices of tokens by kind and length of prompt, what a call used of them, and what that comes to.

Exact prices are fractions of a nano-dollar; `Rates` are the same as whole numbers of parts, so that a call's price is
integer arithmetic, rounded by nobody here.
"""

from __future__ import annotations

from fractions import Fraction
from typing import NamedTuple

from chatapi.domain.extras import Extras
from chatapi.domain.usage import Usage


class TokenPrices(NamedTuple):
    """Nano-dollars per token of each kind, exact. None: no price of its own, and so that of the kind it is part of."""

    prompt: Fraction | None = None
    completion: Fraction | None = None
    cached: Fraction | None = None
    cache_write: Fraction | None = None
    prompt_audio: Fraction | None = None
    cached_audio: Fraction | None = None
    prompt_image: Fraction | None = None
    cached_image: Fraction | None = None
    reasoning: Fraction | None = None
    completion_audio: Fraction | None = None
    completion_image: Fraction | None = None

    def filled(self) -> TokenPrices:
        """Each kind without a price of its own at that of the kind it is part of (cached audio is audio first)."""
        cached = first(self.cached, self.prompt)
        return TokenPrices(
            prompt=self.prompt,
            completion=self.completion,
            cached=cached,
            cache_write=first(self.cache_write, self.prompt),
            prompt_audio=first(self.prompt_audio, self.prompt),
            cached_audio=first(self.cached_audio, self.prompt_audio, cached),
            prompt_image=first(self.prompt_image, self.prompt),
            cached_image=first(self.cached_image, self.prompt_image, cached),
            reasoning=first(self.reasoning, self.completion),
            completion_audio=first(self.completion_audio, self.completion),
            completion_image=first(self.completion_image, self.completion),
        )


class Level(NamedTuple):
    """The prices of all tokens of a call whose prompt is longer than `above` tokens."""

    above: int
    tokens: TokenPrices


class Rates(NamedTuple):
    """A `Level`, filled, in parts; where it knows none, for the prompt or the completion, they are all 0."""

    above: int
    knows_prompt: bool
    knows_completion: bool
    prompt: int
    completion: int
    cached: int
    cache_write: int
    prompt_audio: int
    cached_audio: int
    prompt_image: int
    cached_image: int
    reasoning: int
    completion_audio: int
    completion_image: int

    @property
    def dearest_prompt(self) -> int:
        """Parts, of whichever kind of token of a prompt is dearest."""
        text = max(self.prompt, self.cached, self.cache_write)
        return max(text, self.prompt_audio, self.cached_audio, self.prompt_image, self.cached_image)

    @property
    def dearest_completion(self) -> int:
        """Parts, of whichever kind of token of a completion is dearest."""
        return max(self.completion, self.reasoning, self.completion_audio, self.completion_image)

    def parts(self, usage: Usage, extras: Extras) -> int | None:
        """The price of all tokens, in parts; None where one of them has none."""
        if (usage.prompt_tokens and not self.knows_prompt) or (usage.completion_tokens and not self.knows_completion):
            return None
        return self._prompt_parts(usage, extras) + self._completion_parts(usage, extras)

    def _prompt_parts(self, usage: Usage, extras: Extras) -> int:
        """What was cached is taken for text as far as it can be: nobody reports which it was, and that costs more."""
        total = usage.prompt_tokens
        audio = min(extras.prompt_audio_tokens, total)
        image = min(extras.prompt_image_tokens, total - audio)
        text = total - audio - image
        cached = min(usage.cached_tokens, text)
        cached_image = min(usage.cached_tokens - cached, image)
        cached_audio = min(usage.cached_tokens - cached - cached_image, audio)
        written = min(extras.cache_write_tokens, text - cached)
        parts = cached * self.cached + written * self.cache_write + (text - cached - written) * self.prompt
        if audio or image:
            parts += cached_image * self.cached_image + (image - cached_image) * self.prompt_image
            parts += cached_audio * self.cached_audio + (audio - cached_audio) * self.prompt_audio
        return parts

    def _completion_parts(self, usage: Usage, extras: Extras) -> int:
        total = usage.completion_tokens
        audio = min(extras.completion_audio_tokens, total)
        image = min(extras.completion_image_tokens, total - audio)
        reasoning = min(usage.reasoning_tokens, total - audio - image)
        text = total - audio - image - reasoning
        parts = text * self.completion + reasoning * self.reasoning
        return parts + audio * self.completion_audio + image * self.completion_image


def scaled(level: Level, scale: int) -> Rates:
    """The level with its prices filled in, in parts of which `scale` make a nano-dollar."""
    prompt, completion, *others = (int((price or 0) * scale) for price in level.tokens.filled())
    knows = (level.tokens.prompt is not None, level.tokens.completion is not None)
    return Rates(level.above, *knows, prompt, completion, *others)


def first(*prices: Fraction | None) -> Fraction | None:
    """The first that is a price."""
    return next((price for price in prices if price is not None), None)
