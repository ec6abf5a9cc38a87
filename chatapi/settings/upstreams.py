"""The values that an upstreams file describes: upstreams, aliases, models with their prices, retries, breaker."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Any, Literal

OPENAI_ADDRESS = "https://api.openai.com/v1"
Kind = Literal["openai", "azure", "compatible"]


def _nothing() -> Mapping[str, Any]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """One service that answers calls.

    Args:
        name: unique in the installation; ledger, logs and metrics name it so.
        base_url: http(s), without a slash at its end.
        api_key: None: it asks for none. Never in `repr`.
        weight: its share of the calls among those that serve a model; 0: only where no other can answer.
        models: shell patterns of the models it serves.
        names: by model, the name that this upstream knows it by (Azure: the deployment).
        prices_of: whose list prices its models have where none are configured, as genai-prices names providers; None:
            those of each model's maker.
    """

    name: str
    kind: Kind
    base_url: str
    api_key: str | None = field(default=None, repr=False)
    organisation: str | None = None
    project: str | None = None
    api_version: str | None = None
    weight: int = 1
    models: tuple[str, ...] = ("*",)
    names: Mapping[str, str] = field(default_factory=_nothing)
    prices_of: str | None = None

    def serves(self, model: str) -> bool:
        """Whether it serves this model (no alias); upper and lower case differ."""
        return any(fnmatchcase(model, pattern) for pattern in self.models)

    def name_of(self, model: str) -> str:
        """The name that this upstream knows the model by."""
        return self.names.get(model, model)


@dataclass(frozen=True, slots=True)
class ConfiguredPrice:
    """A price of a model, in dollars, exactly as written.

    Args:
        since: the first day (UTC) on which it holds; None: always.
        per_million: by length of prompt (tokens; the level of those longer than that; the first is 0), dollars per
            million tokens of each kind (`TOKEN_KINDS`); complete in each level.
        per_unit: dollars per image, second, character, web_search and file_search; by variant ("" for any other).
        per_request: dollars for each call.
    """

    since: date | None
    per_million: Mapping[int, Mapping[str, Decimal]]
    per_unit: Mapping[str, Mapping[str, Decimal]]
    per_request: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """What is known about one model; None: not said.

    Args:
        default_completion_tokens: cap of a call that asks for none, per choice.
        largest_completion_tokens: no call may ask for more, per choice.
        reasons: whether it may think in tokens that are never shown.
    """

    name: str
    default_completion_tokens: int | None = None
    largest_completion_tokens: int | None = None
    reasons: bool | None = None
    prices: tuple[ConfiguredPrice, ...] = ()


@dataclass(frozen=True, slots=True)
class Retries:
    """When a call goes on to the next upstream.

    Args:
        attempts: upstreams that one call is sent to at most, each once.
        share: fallbacks are at most this share of all calls …
        reserve: … and so many more, so that a quiet installation may fall back too.
    """

    attempts: int = 3
    share: float = 0.2
    reserve: int = 10


@dataclass(frozen=True, slots=True)
class Breaker:
    """When an upstream is left alone: after so many failures in a row, for so many seconds."""

    failures: int = 5
    open_s: float = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamsFile:
    """All that an upstreams file says, in its order."""

    upstreams: tuple[Upstream, ...]
    aliases: Mapping[str, str] = field(default_factory=_nothing)
    models: Mapping[str, Model] = field(default_factory=_nothing)
    retries: Retries = field(default_factory=Retries)
    breaker: Breaker = field(default_factory=Breaker)

    def resolved(self, model: str) -> str:
        """The model that a name stands for: an alias's target, or itself."""
        return self.aliases.get(model, model)
