"""Names of models, as different upstreams spell them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase

REASONING = re.compile(
    r"^(o\d|gpt-5|gpt-oss|codex|deepseek-r|deepseek-v3\.[1-9]|qwq|qwen3|gemini-2\.5|gemini-[3-9]|grok-3-mini|grok-[4-9]"
    r"|magistral|glm-4\.[5-9]|glm-[5-9]|kimi-k|minimax-m|claude-(3-7|(opus|sonnet|haiku)-[4-9])|.*(thinking|reason))"
)

SEARCHING = re.compile(r"^gpt-.*-search-(preview|api)")


def plain_name(model: str) -> str:
    """The model's name without its vendor (`openai/gpt-4o`), and of a fine-tuned one (`ft:gpt-4o:ours::x`) its base."""
    name = model.lower()
    if name.startswith("ft:"):
        name = name.removeprefix("ft:").partition(":")[0]
    return name.rpartition("/")[2].removeprefix("ft:")


def reasons(model: str) -> bool:
    """Whether a model of this name may think in tokens that are never shown."""
    return bool(REASONING.match(plain_name(model)))


def searches(model: str) -> bool:
    """Whether a model of this name searches the web for each call. Source: OpenAI's guide "Web search"."""
    return bool(SEARCHING.match(plain_name(model)))


def allowed(model: str, lists: Iterable[Iterable[str]]) -> bool:
    """Whether each of these lists of shell patterns has one that fits; without any list every model is allowed."""
    return all(any(fnmatchcase(model, pattern) for pattern in patterns) for patterns in lists)
