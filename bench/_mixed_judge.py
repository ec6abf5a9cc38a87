"""The judge of bench.mixed_calls: what the upstream logged of a call, what its client got, what the ledger charged."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
import tiktoken

from bench._mixed_client import Seen
from bench._mixed_plan import Planned
from chatapi.upstream.tokens import VOCABULARIES

COUNTED_FIELDS = ("tools", "response_format")
FRAME_OF_A_MESSAGE, FRAME_OF_A_REPLY = 4, 3  # OpenAI's cookbook, "How to count tokens with tiktoken"
Entry = Mapping[str, Any]


@dataclass(slots=True)
class Verdict:
    """What was found: problems, and tokens by what they follow from."""

    problems: list[str] = field(default_factory=list)
    calls: Counter[str] = field(default_factory=Counter)
    expected: Counter[str] = field(default_factory=Counter)

    def judge(self, seen: Seen, entry: Entry | None, row: Entry | None) -> None:
        """Judge one call: the upstream's entry of how it ended, None if it never came there, and the ledger's row."""
        if seen.problem:
            self.problems.append(f"{_name(seen.planned)}: {seen.problem}")
        if entry is None or row is None:
            if entry is not None:
                self.problems.append(f"{_name(seen.planned)}: the upstream served it, and the ledger does not know it")
            elif seen.planned.leave is None and seen.status != 429:
                self.problems.append(f"{_name(seen.planned)}: the upstream never saw it; its status: {seen.status}")
            self.calls["denied" if seen.status == 429 else "its client left before it was sent"] += 1
            return
        why, *allowed = _allowed(seen, entry, row)
        charged = (row["usage_source"], row["prompt_tokens"], row["completion_tokens"], row["answered"])
        if charged not in allowed:
            self.problems.append(f"{_name(seen.planned)}: {why}: charged {charged}, not {allowed[:3]}; {dict(entry)}")
        self.calls[why] += 1
        self.expected["prompt_tokens"] += charged[1]
        self.expected["completion_tokens"] += charged[2]
        self.expected["requests"] += charged[3]


def _name(planned: Planned) -> str:
    return f"{planned.name} ({planned.kind})"


def _allowed(seen: Seen, entry: Entry, row: Entry) -> list[Any]:
    """Why, and what the call may have been charged: source, prompt and completion tokens, and whether as answered.

    All but calls that their client left at a moment which nobody else can know have one possible charge only.
    """
    planned = seen.planned
    reported = ("upstream", entry["prompt_tokens"], entry["completion_tokens"], True)
    at_hold = ("hold", row["prompt_bound"], row["completion_granted"], False)
    if entry["how"] == "fault":
        return ["the upstream refused it", ("none", 0, 0, False)]
    if seen.whole:
        if entry["completion_tokens"] is not None:
            return ["answered, as reported", reported]
        return ["answered, as counted", counted(planned, _tokens(seen.text()))]
    if entry["how"] == "cut":
        if not planned.stream:
            return ["the upstream broke off a plain answer", at_hold]
        relayed = _tokens(seen.text())
        return ["the upstream broke off a stream", (*counted(planned, relayed)[:3], False)]
    return _allowed_where_the_client_left(seen, entry, reported, at_hold)


def _allowed_where_the_client_left(
    seen: Seen, entry: Entry, reported: tuple[Any, ...], at_hold: tuple[Any, ...]
) -> list[Any]:
    planned = seen.planned
    if planned.leave is None:
        return [f"nobody left, and it is not whole: status {seen.status}"]
    raced = [reported] if entry["completion_tokens"] is not None else []
    if entry["status"] is None or not planned.stream:
        return ["its client left before the answer", at_hold, *raced]
    least = _tokens(seen.text())
    answering = seen.status == 200  # else the client was gone before the gateway knew that the upstream answers
    if planned.leave.exact and answering:
        return ["its client left and knows what was relayed", counted(planned, least), *raced]
    most = entry["produced_tokens"]
    between = [counted(planned, relayed) for relayed in range(least, most + 1)]
    return ["its client left at any moment", *between, *raced, *([] if answering else [at_hold])]


def counted(planned: Planned, completion: int) -> tuple[Any, ...]:
    """The charge of a call whose usage was not reported."""
    return ("counted", _prompt_tokens(planned), 0 if "input" in planned.body else completion, True)


def _prompt_tokens(planned: Planned) -> int:
    """As the upstream's tokeniser counts them: OpenAI's own sum for messages; what else the model reads, as JSON."""
    body = planned.body
    if "input" in body:
        inputs = body["input"] if isinstance(body["input"], list) else [body["input"]]
        return sum(1 if isinstance(one, int) else _tokens(one) if isinstance(one, str) else len(one) for one in inputs)
    frames = FRAME_OF_A_REPLY + FRAME_OF_A_MESSAGE * len(body["messages"])
    texts = [message["content"] for message in body["messages"]]
    texts += [orjson.dumps(body[name]).decode() for name in COUNTED_FIELDS if name in body]
    return frames + sum(_tokens(text) for text in texts)


def _tokens(text: str) -> int:
    """By the vocabulary of the models that are asked, straight from the tokeniser."""
    os.environ["TIKTOKEN_CACHE_DIR"] = str(VOCABULARIES)  # it would download it
    return len(tiktoken.get_encoding("o200k_base").encode_ordinary(text))
