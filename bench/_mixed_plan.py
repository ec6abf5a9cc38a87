"""The calls of bench.mixed_calls: of every kind in turn, with sizes and moments that a seed decides."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

CHAT, EMBEDDINGS = "/v1/chat/completions", "/v1/embeddings"
BASE = "gpt-4o-emu"  # a model whose vocabulary is known, so that what is not reported is counted by it
TOOL: dict[str, Any] = {
    "type": "function",
    "function": {"name": "say", "parameters": {"type": "object", "properties": {"text": {"type": "string"}}}},
}
SCHEMA: dict[str, Any] = {
    "type": "json_schema",
    "json_schema": {"name": "said", "schema": {"type": "object", "properties": {"text": {"type": "string"}}}},
}


@dataclass(frozen=True, slots=True)
class Leave:
    """How a client leaves before the end.

    Args:
        how: close; abort (with a reset); half: it says that it sends no more, and reads on until the gateway hangs up.
        after_s: seconds after it asked; None for after_events.
        after_events: when so many events with text have come.
    """

    how: str
    after_s: float | None = None
    after_events: int | None = None

    @property
    def exact(self) -> bool:
        """Whether the client then knows to the byte what was relayed: all that the upstream said, or all there was."""
        return self.how == "half" or self.after_events is not None


@dataclass(frozen=True, slots=True)
class Planned:
    """One call: its number, which names it, the path and the body, and whether its client leaves before the end."""

    number: int
    kind: str
    path: str
    body: dict[str, Any]
    leave: Leave | None = None

    @property
    def name(self) -> str:
        """What is logged of it: the `user` of its body."""
        return str(self.body["user"])

    @property
    def stream(self) -> bool:
        """Whether it asks for a stream."""
        return bool(self.body.get("stream"))


def plan(calls: int, seed: int) -> list[Planned]:
    """So many calls, each kind as often as the others but for one."""
    dice = random.Random(seed)
    kinds = list(KINDS)
    chosen = [kinds[number % len(kinds)] for number in range(calls)]
    dice.shuffle(chosen)
    return [_planned(number, kind, dice) for number, kind in enumerate(chosen)]


def _planned(number: int, kind: str, dice: random.Random) -> Planned:
    options, more, leave = KINDS[kind](dice)
    events = "" if "events" in options else f"events{dice.randint(1, 60)}"
    model = "-".join(part for part in (BASE, events, options) if part)
    said = {"user": f"call-{number}", "model": model, **more}
    if "input" in more:
        return Planned(number, kind, EMBEDDINGS, said, leave)
    text = "Why? " * dice.randint(1, 20)
    return Planned(number, kind, CHAT, {"messages": [{"role": "user", "content": text}], **said}, leave)


def _of(options: str, **more: Any) -> Any:
    return lambda _: (options, more, None)


def _stalled(dice: random.Random) -> Any:
    events = dice.randint(1, 30)
    options = f"events40-gap{dice.randint(0, 3)}-stall{events}"
    return options, {"stream": True}, Leave(dice.choice(["close", "abort", "half"]), after_events=events)


def _leaving(*ways: str) -> Any:
    def choose(dice: random.Random) -> Any:
        return "events40-gap10", {"stream": True}, Leave(dice.choice(ways), after_s=dice.uniform(0, 0.5))

    return choose


def _silent(dice: random.Random) -> Any:
    more = {"stream": True} if dice.random() < 0.5 else {}
    return "delay400", more, Leave(dice.choice(["close", "abort", "half"]), after_s=dice.uniform(0, 0.3))


def _cut(dice: random.Random) -> Any:
    return f"events40-cut{dice.randint(1, 30)}", {"stream": True}, None


def _inputs(options: str) -> Any:
    def choose(dice: random.Random) -> Any:
        ids = [dice.randint(0, 100_000) for _ in range(dice.randint(1, 30))]
        given: Any = dice.choice(["one text", ["some", "more texts"], ids, [ids, ids[:1]]])
        return options, {"input": given, "encoding_format": dice.choice(["float", "base64"])}, None

    return choose


USAGE = {"include_usage": True}
KINDS: dict[str, Any] = {
    "plain": _of(""),
    "plain, two choices": _of("", n=2),
    "plain, capped": _of("", max_completion_tokens=7),
    "plain, not reported": _of("nousage"),
    "stream": _of("gap1", stream=True),
    "stream, usage asked for": _of("", stream=True, stream_options=USAGE),
    "stream, two choices": _of("", stream=True, n=2, stream_options=USAGE),
    "stream, slow bytes": _of("drip90-gap1", stream=True),
    "stream, usage early, no [DONE]": _of("early-nodone", stream=True),
    "stream, not reported": _of("nousage-gap1", stream=True),
    "tools": _of("", tools=[TOOL]),
    "tools, not reported": _of("nousage", tools=[TOOL], tool_choice="auto"),
    "tools, stream": _of("gap1", tools=[TOOL], stream=True),
    "tools, stream, not reported": _of("nousage", tools=[TOOL], stream=True),
    "schema": _of("", response_format=SCHEMA),
    "schema, stream, not reported": _of("nousage", response_format=SCHEMA, stream=True),
    "embeddings": _inputs(""),
    "embeddings, not reported": _inputs("nousage"),
    "refused": _of("status400"),
    "rate limited": _of("status429-retry1", stream=True),
    "failed": _of("status500"),
    "cut by the upstream": _cut,
    "cut by the upstream, plain": _of("cut1"),
    "left a stream that fell silent": _stalled,
    "left a stream and read on": _leaving("half"),
    "left a stream": _leaving("close", "abort"),
    "left before the answer": _silent,
}
