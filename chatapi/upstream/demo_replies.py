"""What the demo upstream answers on the endpoints beside chat completions: small, valid, and with real token counts."""

from __future__ import annotations

import base64
import hashlib
import io
import struct
import time
import uuid
import wave
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from chatapi.upstream import tokens
from chatapi.upstream.demo_answers import BadDemoRequest, answer

JSON = "application/json"
EVENTS = "text/event-stream"
SIDE = 64  # of an image, in pixels
SOUND_HZ = 8000
DIMENSIONS = 8


@dataclass(frozen=True)
class Reply:
    """A reply, in one piece, or in several that are sent one after the other."""

    content_type: str
    pieces: tuple[bytes, ...]


Body = Mapping[str, Any]


def completion(body: Body) -> Reply:
    """A completion: the demo's chat about the prompt."""
    prompt = _texts(body, "prompt")
    said = answer(
        {**body, "messages": [{"role": "user", "content": " ".join(prompt)}]}, f"cmpl-demo-{uuid.uuid4().hex}"
    )
    count = sum(tokens.count_text(said.model, text) for text in prompt)
    completion_tokens = int(str(said.usage["completion_tokens"]))
    usage = {"prompt_tokens": count, "completion_tokens": completion_tokens, "total_tokens": count + completion_tokens}
    head = {"id": said.answer_id, "object": "text_completion", "created": said.created, "model": said.model}

    def choice(text: str, reason: str | None) -> list[dict[str, Any]]:
        return [{"text": text, "index": at, "logprobs": None, "finish_reason": reason} for at in range(said.choices)]

    if not body.get("stream"):
        return _json({**head, "choices": choice(said.text, said.finish_reason), "usage": usage})
    events = [{**head, "choices": choice(said.text, None)}, {**head, "choices": choice("", said.finish_reason)}]
    if (body.get("stream_options") or {}).get("include_usage"):
        events.append({**head, "choices": [], "usage": usage})
    return Reply(EVENTS, (*(b"data: " + orjson.dumps(event) + b"\n\n" for event in events), b"data: [DONE]\n\n"))


def response(body: Body) -> Reply:
    """A response: the demo's chat about the last input."""
    given = body.get("input")
    last = given if isinstance(given, str) else orjson.dumps(given).decode()
    asked = {"model": body.get("model"), "max_tokens": body.get("max_output_tokens")}
    said = answer({**asked, "messages": [{"role": "user", "content": last}]}, f"resp_demo{uuid.uuid4().hex}")
    usage = said.usage
    part = {"type": "output_text", "text": said.text, "annotations": []}
    message = {"id": f"msg_{uuid.uuid4().hex}", "type": "message", "role": "assistant", "status": "completed"}
    whole = {
        "id": said.answer_id, "object": "response", "created_at": said.created, "model": said.model, "error": None,
        "status": "completed", "output": [{**message, "content": [part]}], "parallel_tool_calls": True, "tools": [],
        "tool_choice": "auto", "incomplete_details": None, "instructions": body.get("instructions"), "metadata": {},
        "usage": {
            "input_tokens": usage["prompt_tokens"], "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": usage["completion_tokens"], "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": usage["total_tokens"],
        },
    }  # fmt: skip
    if not body.get("stream"):
        return _json(whole)
    begun = {**whole, "status": "in_progress", "output": [], "usage": None}
    place = {"item_id": message["id"], "output_index": 0, "content_index": 0}
    return _typed(
        {"type": "response.created", "response": begun},
        {"type": "response.output_text.delta", **place, "delta": said.text, "logprobs": []},
        {"type": "response.output_text.done", **place, "text": said.text, "logprobs": []},
        {"type": "response.completed", "response": whole},
    )


def embeddings(body: Body) -> Reply:
    """Embeddings that mean nothing, but are the same for the same input."""
    inputs = body.get("input")
    is_one = not isinstance(inputs, list) or all(isinstance(item, int) for item in inputs)
    several: list[Any] = [inputs] if is_one else list(inputs or ())
    model, size = str(body.get("model")), int(body.get("dimensions") or DIMENSIONS)
    count = sum(tokens.count_text(model, one) if isinstance(one, str) else len(one) for one in several)
    data = []
    for index, one in enumerate(several):
        digest = hashlib.shake_128(orjson.dumps(one)).digest(size)
        vector: object = [round(byte / 255 - 0.5, 4) for byte in digest]
        if body.get("encoding_format") == "base64":
            vector = base64.b64encode(struct.pack(f"<{size}f", *(byte / 255 - 0.5 for byte in digest))).decode()
        data.append({"object": "embedding", "index": index, "embedding": vector})
    usage = {"prompt_tokens": count, "total_tokens": count}
    return _json({"object": "list", "model": model, "data": data, "usage": usage})


def moderation(body: Body) -> Reply:
    """A moderation that flags nothing."""
    flags, scores = {"violence": False, "harassment": False}, {"violence": 0.0, "harassment": 0.0}
    one = {"flagged": False, "categories": flags, "category_scores": scores, "category_applied_input_types": {}}
    inputs = body.get("input")
    results = [one for _ in (inputs if isinstance(inputs, list) else [inputs])]
    return _json({"id": f"modr-demo-{uuid.uuid4().hex}", "model": body.get("model"), "results": results})


def image(body: Body) -> Reply:
    """Small plain images. Only models whose images are tokens report usage."""
    count, shown = int(body.get("n") or 1), base64.b64encode(_png(str(body.get("prompt")))).decode()
    written = tokens.count_text(str(body.get("model")), str(body.get("prompt")))
    usage = {
        "input_tokens": written, "output_tokens": 272, "total_tokens": written + 272,
        "input_tokens_details": {"text_tokens": written, "image_tokens": 0},
    }  # fmt: skip
    now, by_tokens = int(time.time()), "gpt-image" in str(body.get("model"))
    if by_tokens and str(body.get("stream")).lower() == "true":
        style = {"size": "64x64", "quality": "low", "background": "opaque", "output_format": "png", "created_at": now}
        events = [{"type": "image_generation.partial_image", "b64_json": shown, "partial_image_index": 0, **style}]
        events += [{"type": "image_generation.completed", "b64_json": shown, "usage": usage, **style}] * count
        return _typed(*events)
    whole = {"created": now, "data": [{"b64_json": shown}] * count}
    counted = {**usage, "output_tokens": 272 * count, "total_tokens": written + 272 * count}
    return _json({**whole, "usage": counted} if by_tokens else whole)


def speech(body: Body) -> Reply:
    """A second of a quiet tone, whatever is to be said; or, as events, with the usage that it would have had."""
    sound = _wav()
    if body.get("stream_format") != "sse":
        return Reply("audio/wav", tuple(sound[start : start + 4096] for start in range(0, len(sound), 4096)))
    written = tokens.count_text(str(body.get("model")), str(body.get("input")))
    usage = {"input_tokens": written, "output_tokens": 20, "total_tokens": written + 20}
    delta = {"type": "speech.audio.delta", "audio": base64.b64encode(sound).decode()}
    return _typed(delta, {"type": "speech.audio.done", "usage": usage})


def transcription(body: Body) -> Reply:
    """A sentence about the size of the file."""
    text = f"This is ChatAPI's demo upstream. It heard {len(body.get('file') or b'')} bytes."
    model, form = str(body.get("model")), str(body.get("response_format") or "json")
    if form in {"text", "srt", "vtt"}:
        line = {"text": text, "srt": f"1\n00:00:00,000 --> 00:00:01,000\n{text}\n"}
        said = line.get(form, f"WEBVTT\n\n00:00.000 --> 00:01.000\n{text}\n")
        return Reply("text/vtt" if form == "vtt" else "text/plain", (said.encode(),))
    usage: dict[str, Any] = {"type": "duration", "seconds": 1}
    if model.startswith("gpt-"):
        spoken = tokens.count_text(model, text)
        usage = {"type": "tokens", "input_tokens": 10, "output_tokens": spoken, "total_tokens": 10 + spoken}
        if str(body.get("stream")).lower() == "true":
            return _typed(
                {"type": "transcript.text.delta", "delta": text},
                {"type": "transcript.text.done", "text": text, "usage": usage},
            )
    details = {"duration": 1.0, "language": "english", "segments": []} if form == "verbose_json" else {}
    return _json({"text": text, **details, "usage": usage})


REPLIES: dict[str, Callable[[Body], Reply]] = {
    "/v1/completions": completion,
    "/v1/responses": response,
    "/v1/embeddings": embeddings,
    "/v1/moderations": moderation,
    "/v1/images/generations": image,
    "/v1/images/edits": image,
    "/v1/audio/speech": speech,
    "/v1/audio/transcriptions": transcription,
    "/v1/audio/translations": transcription,
}


def _texts(body: Body, name: str) -> list[str]:
    value = body.get(name)
    if not isinstance(value, str | list) or not value:
        raise BadDemoRequest(f"'{name}' must be a text, or several.", name)
    return [value] if isinstance(value, str) else [str(item) for item in value]


def _json(value: object) -> Reply:
    return Reply(JSON, (orjson.dumps(value),))


def _typed(*events: dict[str, Any]) -> Reply:
    """Events that say their type."""

    def made() -> Iterator[bytes]:
        for number, event in enumerate(events):
            said = orjson.dumps({**event, "sequence_number": number})
            yield b"event: %b\ndata: %b\n\n" % (event["type"].encode(), said)

    return Reply(EVENTS, tuple(made()))


def _png(seed: str) -> bytes:
    """A plain image whose colour is the prompt's. Source: the PNG specification (W3C), "Datastream structure"."""
    colour = hashlib.sha256(seed.encode()).digest()[:3]

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = zlib.compress((b"\0" + colour * SIDE) * SIDE)
    header = struct.pack(">IIBBBBB", SIDE, SIDE, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def _wav() -> bytes:
    """A second of a quiet tone of 200 Hz."""
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(1)
        sound.setframerate(SOUND_HZ)
        sound.writeframes(bytes(120 + (at // 20 % 2) * 16 for at in range(SOUND_HZ)))
    return file.getvalue()
