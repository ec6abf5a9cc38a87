"""The gateway's own, simple routes: a password for an access token, a question for an answer."""

from __future__ import annotations

from chatapi.domain.chat_request import MOST_TOKENS
from chatapi.endpoint.dialects import Dialect
from chatapi.endpoint.openapi.operations import asked_in_json, operation, query
from chatapi.endpoint.openapi.pieces import (
    EVENTS,
    JSON,
    Piece,
    body,
    integer,
    nullable,
    obj,
    ref,
    reply,
    schema,
    string,
)
from chatapi.endpoint.openapi.refusals import (
    OF_BODIES,
    OF_CALLS,
    OF_LIMITS,
    REQUEST_ID,
    RETRY_AFTER,
    refusal,
    refused,
)

TOKENS, QUESTIONS = "Access tokens", "Questions"
YES: Piece = {"type": "boolean", "const": True}
MESSAGES = [{"role": "user", "content": "Say hello."}]


def paths() -> Piece:
    """The routes."""
    return {
        "/token": {"post": _token()},
        "/api": {"get": _api()},
        "/chatgpt_prompt": {"post": _chatgpt_prompt()},
        "/chat": {"post": _chat()},
    }


def schemas() -> Piece:
    """What they take and answer."""
    token = {
        "username": string(),
        "token": string("The access token, a JWT.", pattern=r"^[\w-]+\.[\w-]+\.[\w-]+$"),
        "expiration_time": string(
            "In the installation's time zone.",
            pattern=r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d$",
            examples=["2026-12-21 07:01:42"],
        ),
    }
    prompt = {
        "model": nullable(schema_of_model()) | {"description": "The default model answers where there is none."},
        "messages": schema("Messages"),
        "max_tokens": nullable(integer("The most tokens of the answer.", 1, MOST_TOKENS)),
        "temperature": {"type": ["number", "null"], "description": "The sampling temperature."},
    }
    password = {"u": string("The username."), "p": string("The password.", format="password")}
    return {
        "Password": obj("u p", password),
        "AccessToken": _envelope(obj("username token expiration_time", token, open=False)),
        "Answer": _envelope(string("The reply's text.")),
        "AnswerText": string("`Answer: ` and the reply's text.", pattern="^Answer: "),
        "Prompt": obj("messages", prompt, "Other fields are ignored."),
        "Chat": obj("messages", {"messages": schema("Messages")}, "Other fields are ignored."),
    }


def schema_of_model() -> Piece:
    """The name of a model."""
    printable = r"^[^\u0000-\u001f\u007f-\u00a0]+$"  # and no other character that cannot be seen
    return string("The name of a model, or of an alias.", minLength=1, maxLength=256, pattern=printable)


def _envelope(message: Piece) -> Piece:
    return obj("statu status message", {"statu": YES, "status": YES, "message": message}, open=False)


def _token() -> Piece:
    token = {JSON: schema("AccessToken")}
    replies = refused(Dialect.ENVELOPE, *OF_BODIES) | {
        "200": reply("The access token that is still valid: the same JWT, byte for byte.", token, (REQUEST_ID,)),
        "201": reply("A new access token: there was none, or it had expired or was revoked.", token, (REQUEST_ID,)),
        "401": refusal(Dialect.ENVELOPE, "Unknown user or wrong password: `Invalid username or password`"),
        "429": refusal(Dialect.ENVELOPE, "Too many failed logins.", RETRY_AFTER),
        "503": refusal(Dialect.ENVELOPE, "The database cannot answer, or too many logins are waiting.", RETRY_AFTER),
    }
    return operation(
        TOKENS,
        "exchange_password",
        "Trade a username and a password for an access token",
        "Of concurrent first calls one gets 201. `statu` and `status` always say the same.",
        replies,
        request=body(schema("Password"), {"u": "demo", "p": "demo-password"}),
        public=True,
    )


def _api() -> Piece:
    failed = (
        "The upstream failed: `An error occurred in the chatgpt request, …` and the reason. Or a fault of this service."
    )
    replies = refused(Dialect.ENVELOPE, *(status for status in OF_CALLS if status != 502)) | {
        "200": reply("The answer.", {JSON: schema("Answer")}, (REQUEST_ID,)),
        "500": refusal(Dialect.ENVELOPE, failed),
    }
    made = operation(
        QUESTIONS,
        "ask",
        "Ask the default model one question",
        "The question may take 65,000 bytes in the URL.",
        replies,
    )
    question = query("q", "The question; not of spaces only.", string(pattern=r"\S"), "Hello, who are you?")
    return made | {"parameters": [question]}


def _chatgpt_prompt() -> Piece:
    answer = reply("The answer.", {JSON: schema("AnswerText")}, (REQUEST_ID,))
    example = {"model": "gpt-4o-mini", "messages": MESSAGES, "max_tokens": 50, "temperature": 0.2}
    return operation(
        QUESTIONS,
        "prompt",
        "Send messages, get one JSON string",
        "All messages are sent. A model that reasons is sent the cap as `max_completion_tokens` and no temperature.",
        asked_in_json(Dialect.TEXT) | {"200": answer},
        request=body(schema("Prompt"), example),
    )


def _chat() -> Piece:
    streamed = "The answer's text, piece by piece, without `data:`. One that breaks off ends the connection early."
    answer = reply(
        streamed, {EVENTS: string()}, (REQUEST_ID, *OF_LIMITS), **{"Cache-Control": ref("headers", "Cache-Control")}
    )
    return operation(
        QUESTIONS,
        "chat",
        "Send messages, get the default model's answer as it comes",
        "The installation's system message is put first; temperature 0, at most 800 completion tokens.",
        asked_in_json(Dialect.ENVELOPE) | {"200": answer},
        request=body(schema("Chat"), {"messages": MESSAGES}),
    )
