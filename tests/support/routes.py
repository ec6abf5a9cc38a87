"""The four ways to ask a question, each with its own dialect of answers and refusals (CONTRACT §2 to §5)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx2

from tests.support.gateway import Gateway

SORRY = "申し訳ありませんが、エラーが発生しました。"
LIMIT_REACHED = "Token access limit reached."
NO_SUCH_TOKEN = "Token does not exist. Please contact the administrator to apply."
WRONG_CREDENTIALS = "Invalid username or password"
MODEL = "tiny"


def refused_envelope(response: httpx2.Response) -> str:
    """The message of a refusal in the envelope of §1 and §2: `statu` and `status` say false."""
    body = _json(response)
    assert isinstance(body, dict), body
    assert body.keys() == {"statu", "status", "message"}, body
    assert body["statu"] is False and body["status"] is False, body
    return _said(body["message"])


def answered_envelope(response: httpx2.Response) -> Any:
    """The message of a success in the envelope of §1 and §2."""
    body = _json(response)
    assert isinstance(body, dict), body
    assert body.keys() == {"statu", "status", "message"}, body
    assert body["statu"] is True and body["status"] is True, body
    return body["message"]


def refused_string(response: httpx2.Response) -> str:
    """The message of a refusal of §3: a JSON string."""
    return _said(_json(response))


def refused_error(response: httpx2.Response) -> str:
    """The message of OpenAI's error object."""
    body = _json(response)
    assert isinstance(body, dict) and body.keys() == {"error"}, body
    error = body["error"]
    assert error.keys() - {"chatapi"} == {"message", "type", "param", "code"}, error
    assert "chatapi" not in error or response.status_code == 429, "only a denial explains itself"
    assert isinstance(error["type"], str) and error["type"], error
    assert error["param"] is None or isinstance(error["param"], str), error
    assert error["code"] is None or isinstance(error["code"], str), error
    assert response.headers.get("x-request-id"), "every reply under /v1 has an x-request-id"
    return _said(error["message"])


def _json(response: httpx2.Response) -> Any:
    assert response.headers["content-type"].split(";")[0] == "application/json", response.headers
    return response.json()


def _said(message: Any) -> str:
    assert isinstance(message, str) and message.strip(), "a refusal says why"
    assert "Traceback" not in message and 'File "' not in message, message
    return message


def messages(text: str) -> list[dict[str, str]]:
    """One user message."""
    return [{"role": "user", "content": text}]


@dataclass(frozen=True)
class Route:
    """One way to ask.

    Args:
        path: its path; GET with `q` where `body` is None, else POST.
        body: makes the smallest good body from a text.
        answer: reads the model's text from a good response.
        refusal: reads the message of a refusal, and asserts that it is in this route's dialect.
        upstream_failed: the status that says that the upstream failed; None where the contract leaves it open.
    """

    path: str
    body: Callable[[str], dict[str, Any]] | None
    answer: Callable[[httpx2.Response], str]
    refusal: Callable[[httpx2.Response], str]
    upstream_failed: int | None

    def ask(
        self, gateway: Gateway, text: str, access_token: str | None, *, headers: Mapping[str, str] | None = None
    ) -> httpx2.Response:
        """Ask this question."""
        if self.body is None:
            return gateway.http.get(self.path, params={"q": text}, access_token=access_token, headers=headers)
        return gateway.http.post(self.path, json=self.body(text), access_token=access_token, headers=headers)


def _prompt_answer(response: httpx2.Response) -> str:
    answer = _json(response)
    assert isinstance(answer, str) and answer.startswith("Answer: "), answer
    return answer.removeprefix("Answer: ")


def _completion_answer(response: httpx2.Response) -> str:
    answer: str = _json(response)["choices"][0]["message"]["content"]
    return answer


API = Route("/api", None, answered_envelope, refused_envelope, 500)
PROMPT = Route(
    "/chatgpt_prompt",
    lambda text: {"model": MODEL, "messages": messages(text), "max_tokens": 50, "temperature": 0.5},
    _prompt_answer,
    refused_string,
    502,
)
CHAT = Route(
    "/chat",
    lambda text: {"messages": messages(text)},
    lambda response: response.text,
    refused_envelope,
    502,
)
COMPLETIONS = Route(
    "/v1/chat/completions",
    lambda text: {"model": MODEL, "messages": messages(text)},
    _completion_answer,
    refused_error,
    None,
)
ROUTES = [API, PROMPT, CHAT, COMPLETIONS]
POST_ROUTES = [PROMPT, CHAT, COMPLETIONS]


def name_of(route: object) -> str | None:
    """The path, for pytest's ids."""
    return route.path if isinstance(route, Route) else None
