"""The bytes of replies. What does not change from call to call is formatted once and remembered."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import orjson

from bench.emulator.embeddings import Inputs
from bench.emulator.forms import TEXT, Form
from bench.emulator.script import Script

# Each is, with the space before it, one token of o200k_base and of cl100k_base, and 5 bytes long.
WORDS = (" time", " year", " work", " life", " hand", " part", " last", " long", " same", " over", " such", " take")
BYTES_PER_TOKEN = 4
CREATED = 1_700_000_000
REASONS = {200: b"OK", 404: b"Not Found", 411: b"Length Required", 429: b"Too Many Requests"}
LAST_CHUNK = b"0\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Question:
    """What matters of a request's body."""

    model: str
    stream: bool
    asks_usage: bool
    most_tokens: int | None
    choices: int
    prompt_bytes: int
    form: Form = TEXT
    inputs: Inputs | None = None  # of embeddings only

    @classmethod
    def about(cls, body: dict[str, Any]) -> Question:
        """The question that asks for embeddings."""
        inputs = Inputs.of(body)
        return cls(str(body.get("model")), False, True, 0, 0, sum(inputs.sizes), inputs=inputs)

    @classmethod
    def of(cls, body: dict[str, Any]) -> Question:
        """The question that a chat completion asks."""
        options = body.get("stream_options") or {}
        return cls(
            model=str(body.get("model")),
            stream=bool(body.get("stream")),
            asks_usage=bool(options.get("include_usage")),
            most_tokens=body.get("max_completion_tokens") or body.get("max_tokens"),
            choices=body.get("n") or 1,
            prompt_bytes=prompt_bytes(body),
            form=Form.of(body),
        )


@dataclass(frozen=True, slots=True)
class Plan:
    """A reply: pieces that are sent one after the other, and the end.

    Args:
        pieces: what is sent, with a pause between each two.
        counted: how many events with text have been sent when the piece is; as long as `pieces`.
        tokens: of one event, all choices together; and of the whole reply.
        reported: the completion tokens that the last piece reports; None if it does not.
        ending: keep, close or stall: what becomes of the connection.
    """

    pieces: tuple[bytes, ...]
    counted: tuple[int, ...]
    tokens: tuple[int, int]
    reported: int | None
    ending: str

    def produced(self, sent: int) -> int:
        """The words in the first `sent` pieces."""
        events = self.counted[sent - 1] if sent else 0
        return min(events * self.tokens[0], self.tokens[1])

    def dripping(self, size: int) -> Plan:
        """The same bytes, `size` at a time."""
        whole, counted = b"".join(self.pieces), []
        sent, ends = 0, [sum(map(len, self.pieces[: number + 1])) for number in range(len(self.pieces))]
        for end in range(size, len(whole) + size, size):
            while sent < len(ends) and ends[sent] <= end:
                sent += 1
            counted.append(self.counted[sent - 1] if sent else 0)
        pieces = tuple(whole[start : start + size] for start in range(0, len(whole), size))
        return replace(self, pieces=pieces, counted=tuple(counted))


def prompt_bytes(body: dict[str, Any]) -> int:
    """The UTF-8 bytes of the messages' text: contents that are strings, and parts with a `text`."""
    total = 0
    for message in body.get("messages") or []:
        content = message.get("content") or ""
        texts = [content] if isinstance(content, str) else [part.get("text") or "" for part in content]
        total += sum(len(text.encode("utf-8", "surrogatepass")) for text in texts)
    return total


def prompt_tokens(body: dict[str, Any]) -> int:
    """What is reported of a body unless its model says otherwise: a token for every four bytes of text, and one."""
    return prompt_bytes(body) // BYTES_PER_TOKEN + 1


def asked_prompt_tokens(question: Question, script: Script) -> int:
    """The prompt tokens that are reported of a question."""
    if script.prompt_tokens is not None:
        return script.prompt_tokens
    if question.inputs is not None:
        return question.inputs.tokens
    return question.prompt_bytes // BYTES_PER_TOKEN + 1


def total_words(question: Question, script: Script) -> int:
    """The words of each choice: as the model's name says, but never more than the request allows."""
    words = script.events * script.words
    return words if question.most_tokens is None else min(words, question.most_tokens)


def plan(question: Question, script: Script, reply_id: str) -> Plan:
    """The reply to a question. `reply_id` must be 36 characters."""
    made = _stream(question, script, reply_id) if question.stream else _whole(question, script, reply_id)
    return made.dripping(script.drip) if script.drip else made


def error(status: int, message: str, headers: bytes = b"") -> bytes:
    """An error with OpenAI's error object."""
    kind = "invalid_request_error" if status < 429 else "rate_limit_error" if status == 429 else "server_error"
    said = {"error": {"message": message, "type": kind, "param": None, "code": f"emulated_{status}"}}
    return _head(status, b"application/json", headers) + _with_length(orjson.dumps(said))


def models() -> bytes:
    """The list of models."""
    listed = {"object": "list", "data": [{"id": "emu", "object": "model", "owned_by": "bench"}]}
    return _head(200, b"application/json") + _with_length(orjson.dumps(listed))


def _head(status: int, kind: bytes, more: bytes = b"") -> bytes:
    reason = REASONS.get(status, b"Error")
    return b"HTTP/1.1 %d %s\r\nContent-Type: %s\r\n%s" % (status, reason, kind, more)


def _with_length(body: bytes) -> bytes:
    return b"Content-Length: %d\r\n\r\n%s" % (len(body), body)


def _usage(question: Question, script: Script) -> dict[str, int]:
    prompt, completion = asked_prompt_tokens(question, script), _claimed(question, script)
    if question.inputs is not None:
        return {"prompt_tokens": prompt, "total_tokens": prompt}
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def _claimed(question: Question, script: Script) -> int:
    if script.completion_tokens is not None:
        return script.completion_tokens
    return total_words(question, script) * question.choices


def _finish(question: Question, script: Script) -> str:
    return "length" if total_words(question, script) < script.events * script.words else question.form.finish


def _words(first: int, count: int) -> str:
    return "".join(WORDS[number % len(WORDS)] for number in range(first, first + count))


# --------------------------------------------------------------------------------------------------------------- plain


def _whole(question: Question, script: Script, reply_id: str) -> Plan:
    claimed, words = _claimed(question, script), total_words(question, script)
    before, after = _whole_parts(question, words, _finish(question, script))
    usage = b',"usage":' + orjson.dumps(_usage(question, script)) if script.reports else b""
    content = b"%s%s%s%s}" % (before, reply_id.encode(), after, usage)
    request_id = b"x-request-id: %s\r\n" % reply_id.encode()
    answer = _head(200, b"application/json", request_id) + _with_length(content)
    tokens, events = words * question.choices, min(script.events, -(-words // script.words))
    if script.stops_at is not None:
        part = answer[: len(answer) - len(content) // 2]
        return Plan((part,), (0,), (0, 0), None, "close" if script.cut is not None else "stall")
    return Plan((answer,), (events,), (tokens, tokens), claimed if script.reports else None, "keep")


@lru_cache(maxsize=256)
def _whole_parts(question: Question, words: int, finish: str) -> tuple[bytes, bytes]:
    """What is before and after the id."""
    (text,) = question.form.framed([_words(0, words)], whole=finish != "length")
    message = question.form.message(text)
    listed = [{"index": index, "finish_reason": finish, "message": message} for index in range(question.choices)]
    body = {"id": "*", "object": "chat.completion", "created": CREATED, "model": question.model, "choices": listed}
    if question.inputs is not None:
        body = {"id": "*", **question.inputs.reply(question.model)}
    before, _, after = orjson.dumps(body)[:-1].partition(b"*")
    return before, after


# -------------------------------------------------------------------------------------------------------------- stream


def _stream(question: Question, script: Script, reply_id: str) -> Plan:
    words = total_words(question, script)
    per_event = min(script.words, words) or 1
    own_id = reply_id.encode()
    reports = script.reports and question.asks_usage
    parts = _event_parts(question, words, per_event, reports and not script.early, _finish(question, script))
    role, *events = [before + own_id + after for before, after in parts]
    head = _head(200, b"text/event-stream", b"Transfer-Encoding: chunked\r\nx-request-id: %s\r\n\r\n" % own_id)
    pieces, counted = [head + role, *events], list(range(len(events) + 1))
    stops_at = script.stops_at
    if stops_at is None:
        pieces.append(_tail(question, script, reply_id))
        counted.append(len(events))
    else:
        del pieces[stops_at + 1 :], counted[stops_at + 1 :]
    if len(counted) > 1 and counted[1] == 1:  # the role comes with the first words
        pieces[:2], counted[:2] = [pieces[0] + pieces[1]], [1]
    ending = "close" if script.cut is not None else "stall" if script.stall is not None else "keep"
    reported = _claimed(question, script) if reports and stops_at is None else None
    tokens = (per_event * question.choices, words * question.choices)
    return Plan(tuple(pieces), tuple(counted), tokens, reported, ending)


@lru_cache(maxsize=256)
def _event_parts(
    question: Question, words: int, per_event: int, null_usage: bool, finish: str
) -> tuple[tuple[bytes, bytes], ...]:
    """What is before and after the id of the event with the role and of each with text, framed as HTTP's chunks."""
    texts = [_words(first, min(per_event, words - first)) for first in range(0, words, per_event)]
    form, choices = question.form, question.choices
    deltas = [form.first_delta(), *map(form.delta, form.framed(texts, whole=finish != "length"))]
    more = {"usage": None} if null_usage else {}
    events = [_event("*" * 36, question.model, _choices(choices, delta, None), more) for delta in deltas]
    framed = []
    for event in events:
        before, _, after = _chunk(event.encode()).partition(b"*" * 36)
        framed.append((before, after))
    return tuple(framed)


def _choices(count: int, delta: dict[str, Any], finish: str | None) -> list[dict[str, Any]]:
    return [{"index": index, "delta": delta, "finish_reason": finish} for index in range(count)]


def _event(reply_id: str, model: str, choices: list[dict[str, Any]], more: dict[str, Any]) -> str:
    body = {"id": reply_id, "object": "chat.completion.chunk", "created": CREATED, "model": model, "choices": choices}
    return f"data: {orjson.dumps(body | more).decode()}\n\n"


def _tail(question: Question, script: Script, reply_id: str) -> bytes:
    """The event with the finish reason, the usage and [DONE], and the end of the body."""
    reports = script.reports and question.asks_usage
    usage = _usage(question, script) if reports else None
    own = {"usage": usage if script.early else None} if reports else {}
    finish = _choices(question.choices, {}, _finish(question, script))
    said = _event(reply_id, question.model, finish, own)
    if reports and not script.early:
        said += _event(reply_id, question.model, [], {"usage": usage})
    if script.done:
        said += "data: [DONE]\n\n"
    return _chunk(said.encode()) + LAST_CHUNK


def _chunk(content: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(content), content)
