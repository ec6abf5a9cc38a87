"""What a call used: tokens by kind, and where the figures come from."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from chatapi.domain.extras import NOTHING_ELSE, Extras, reported_extras

MOST_TOKENS = 10**12  # of one call that are believed; no database takes integers of any size

PROMPT_DETAILS = ("prompt_tokens_details", "input_tokens_details", "input_token_details")
COMPLETION_DETAILS = ("completion_tokens_details", "output_tokens_details")


class UsageSource(StrEnum):
    """Where the figures of a call's usage come from."""

    UPSTREAM = "upstream"  # reported by the upstream
    COUNTED = "counted"  # tokenised here, from what was sent and relayed
    HOLD = "hold"  # unknown: charged at the hold
    NONE = "none"  # the call never ran


class Usage(NamedTuple):
    """Tokens of one call. `cached_tokens` are part of `prompt_tokens`, `reasoning_tokens` of `completion_tokens`.
    What else it used, and in which service tier it was answered, matters for its price only.
    """

    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    reasoning_tokens: int = 0
    source: UsageSource = UsageSource.NONE
    extras: Extras = NOTHING_ELSE
    service_tier: str = ""

    @property
    def total_tokens(self) -> int:
        """All tokens that are charged."""
        return self.prompt_tokens + self.completion_tokens

    def plus(self, other: Usage) -> Usage:
        """What both used together."""
        return self._replace(
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            cached_tokens=self.cached_tokens + other.cached_tokens,
            completion_tokens=self.completion_tokens + other.completion_tokens,
            reasoning_tokens=self.reasoning_tokens + other.reasoning_tokens,
            extras=self.extras.plus(other.extras),
        )

    @classmethod
    def reported(cls, usage: object, *, completes: bool = True, service_tier: object = None) -> Usage | None:
        """Read the `usage` object of an OpenAI reply; None when it is absent or makes no sense.

        Source: OpenAI's API reference: `CompletionUsage`, and `ResponseUsage` and its like, which say `input_tokens`
        and `output_tokens`. A figure that is no integer from 0 to `MOST_TOKENS` is not believed, and then the whole
        report is not: the caller counts instead.

        Args:
            usage: the object.
            completes: whether there is a completion, so that a report must name it.
            service_tier: as the reply names it, if it does.
        """
        if not isinstance(usage, dict):
            return None
        prompt_details, completion_details = _details(usage, PROMPT_DETAILS), _details(usage, COMPLETION_DETAILS)
        if not isinstance(prompt_details, dict) or not isinstance(completion_details, dict):
            return None
        completion = usage.get("completion_tokens", usage.get("output_tokens"))
        figures = (
            usage.get("prompt_tokens", usage.get("input_tokens")),
            prompt_details.get("cached_tokens") or 0,
            0 if completion is None and not completes else completion,
            completion_details.get("reasoning_tokens") or 0,
        )
        if not all(
            isinstance(figure, int) and not isinstance(figure, bool) and 0 <= figure <= MOST_TOKENS
            for figure in figures
        ):
            return None
        prompt, cached, completion, reasoning = (int(str(figure)) for figure in figures)
        if prompt == 0:  # nothing is answered to nothing
            return None
        extras = reported_extras(prompt_details, completion_details)
        tier = service_tier if isinstance(service_tier, str) else ""
        return cls(prompt, cached, completion, reasoning, UsageSource.UPSTREAM, extras, tier)


def _details(usage: dict[str, object], names: tuple[str, ...]) -> object:
    """The first of these objects that there is, or an empty one."""
    return next((details for name in names if (details := usage.get(name))), {})
