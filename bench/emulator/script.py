"""What a model's name asks for. The grammar is in the package's docstring."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

WORD_BYTES = 5
_OPTION = re.compile(r"([a-z]+)(\d+(?:\.\d+)?)?")
_WITH_NUMBER = {
    "delay", "events", "gap", "bytes", "drip", "status", "retry", "cut", "stall", "usage", "prompt",
}  # fmt: skip
_FLAGS = {"drop", "hang", "nousage", "early", "nodone"}


class UnknownModel(ValueError):
    """The name asks for something that is not in the grammar."""


@dataclass(frozen=True, slots=True)
class Script:
    """How a call goes. Sizes are in bytes, except `words`, which an event has."""

    delay_s: float = 0.0
    events: int = 10
    gap_s: float = 0.0
    words: int = 1
    drip: int | None = None
    status: int | None = None
    retry_after_s: int | None = None
    drop: bool = False
    hang: bool = False
    cut: int | None = None
    stall: int | None = None
    reports: bool = True
    early: bool = False
    done: bool = True
    completion_tokens: int | None = None
    prompt_tokens: int | None = None

    @property
    def stops_at(self) -> int | None:
        """After how many events it breaks off or falls silent; None if it does not."""
        return self.cut if self.cut is not None else self.stall


@lru_cache(maxsize=4096)
def read_script(model: str) -> Script:
    """Read a model's name.

    Raises:
        UnknownModel: naming the part that makes no sense.
    """
    _, found, options = f"-{model}-".partition("-emu-")
    if not found:
        return Script()
    given: dict[str, float] = {}
    for part in options.split("-"):
        if part:
            name, number = _read_option(part)
            given[name] = number
    return _script(given)


def _read_option(part: str) -> tuple[str, float]:
    option = _OPTION.fullmatch(part)
    if option is None:
        raise UnknownModel(part)
    name, number = option[1], option[2]
    if name not in (_FLAGS if number is None else _WITH_NUMBER):
        raise UnknownModel(part)
    return name, float(number or 1)


def _script(given: dict[str, float]) -> Script:
    def whole(name: str) -> int | None:
        return int(given[name]) if name in given else None

    return Script(
        delay_s=given.get("delay", 0) / 1000,
        events=int(given.get("events", 10)),
        gap_s=given.get("gap", 0) / 1000,
        words=max(1, -(-int(given.get("bytes", WORD_BYTES)) // WORD_BYTES)),
        drip=max(1, int(given["drip"])) if "drip" in given else None,
        status=whole("status"),
        retry_after_s=whole("retry"),
        drop="drop" in given,
        hang="hang" in given,
        cut=whole("cut"),
        stall=whole("stall"),
        reports="nousage" not in given,
        early="early" in given,
        done="nodone" not in given,
        completion_tokens=whole("usage"),
        prompt_tokens=whole("prompt"),
    )
