"""A completion as a client asks for it, and as a model that only chats is asked it.

Source: OpenAI's API reference, "Create completion" (legacy).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

from chatapi.domain import chat_request
from chatapi.domain.bounds import CALL_OVERHEAD, LEAST_COMPLETION, MESSAGE_OVERHEAD, bytes_of_fields
from chatapi.domain.chat_request import CAPS, CHOICES, MOST_CHOICES, MOST_TOKENS, ChatRequest
from chatapi.domain.fields import boolean, include_usage, integer, model_of
from chatapi.domain.inputs import read_inputs
from chatapi.domain.model_names import plain_name
from chatapi.domain.model_request import ModelRequest, Prompt
from chatapi.errors import InvalidRequest

DEFAULT_COMPLETION_TOKENS = 16
"""What OpenAI takes for `max_tokens` where a completion does not say."""
COMPLETING = re.compile(r"^(gpt-3\.?5-turbo-instruct|davinci-002|babbage-002)")
CHATTING_KINDS = frozenset({"openai", "azure"})
"""Of upstreams, those whose models either chat or complete, so that their names tell; others know best themselves."""


@dataclass(frozen=True, slots=True)
class CompletionRequest(ModelRequest):
    """A checked request. `choices` are those of all prompts together."""

    form: ClassVar[str] = "/v1/completions"

    def prompt_bound(self) -> int:
        """The bytes of the prompts, one token for each id, and the bytes of what else the body says (`suffix`)."""
        prompts = read_inputs(self.body, "prompt")
        others = bytes_of_fields({name: value for name, value in self.body.items() if name != "prompt"})
        return CALL_OVERHEAD + MESSAGE_OVERHEAD * prompts.number + prompts.bound() + others

    def prompt(self) -> Prompt:
        """The prompts, and the suffix."""
        prompts = read_inputs(self.body, "prompt")
        suffix = self.body.get("suffix")
        return Prompt((*prompts.texts, suffix) if isinstance(suffix, str) else prompts.texts, prompts.ids)

    def completion_bound(self, default_cap: int) -> tuple[int, int]:
        """The cap of each choice, which is OpenAI's own where none is given."""
        wanted = self.cap if self.cap is not None else DEFAULT_COMPLETION_TOKENS
        return self.choices * wanted, self.choices * min(wanted, LEAST_COMPLETION)

    def at(self, kind: str, model: str) -> ModelRequest:
        """As it is, or for a model that only chats as a chat completion.

        Raises:
            InvalidRequest: the model only chats, and a chat cannot do this exactly.
        """
        if kind not in CHATTING_KINDS or COMPLETING.match(plain_name(model)):
            return replace(self, model=model)
        return _over_chat(self, model)

    def upstream_body(self, model: str, completion_per_choice: int | None) -> dict[str, object]:
        """The body to send: the model resolved, the completion capped if a number is given, usage always asked for."""
        body = dict(self.body) | {"model": model}
        if completion_per_choice is not None:
            given = {name: cap for name in CAPS if isinstance(cap := body.get(name), int)}
            caps = given or {"max_tokens": completion_per_choice}
            body |= {name: min(cap, completion_per_choice) for name, cap in caps.items()}
        if self.stream:
            options = self.body.get("stream_options")
            body["stream_options"] = (options if isinstance(options, dict) else {}) | {"include_usage": True}
        return body


@dataclass(frozen=True, slots=True)
class CompletionOverChat(ChatRequest):
    """A completion that a model is asked as a chat; its reply is made one of a completion."""

    form: ClassVar[str] = "/v1/completions over chat"


def parse(body: Mapping[str, object]) -> CompletionRequest:
    """Check what OpenAI would refuse for its shape.

    Raises:
        InvalidRequest: in OpenAI's words, naming the parameter.
    """
    model = model_of(body)
    prompts = read_inputs(body, "prompt")
    stream = boolean(body, "stream")
    choices = max(integer(body, name, 1, MOST_CHOICES) or 1 for name in CHOICES)
    caps = [cap for cap in (integer(body, name, 1, MOST_TOKENS) for name in CAPS) if cap is not None]
    return CompletionRequest(
        body, model, bool(stream), include_usage(body), choices * prompts.number, max(caps, default=None)
    )


def _over_chat(request: CompletionRequest, model: str) -> CompletionOverChat:
    body = dict(request.body) | {"model": model}
    prompt = body.pop("prompt")
    best_of, n = body.pop("best_of", None), body.get("n")
    impossible = {
        "prompt": None if isinstance(prompt, str) else prompt,
        "suffix": body.pop("suffix", None) or None,
        "echo": body.pop("echo", None) or None,
        "best_of": None if best_of in {None, n or 1} else best_of,
        "logprobs": body.pop("logprobs", None),
    }
    for name, value in impossible.items():
        if value is not None:
            problem = (
                f"Unsupported parameter: '{name}'. This model only chats, and a completion is asked of it as a chat of "
                "one message, where this has no equivalent. Use v1/chat/completions, or a model that completes."
            )
            raise InvalidRequest(problem, param=name, code="unsupported_parameter")
    if request.cap is None:
        body["max_tokens"] = DEFAULT_COMPLETION_TOKENS
    chat = chat_request.parse(body | {"messages": [{"role": "user", "content": prompt}]}).in_words_of_its_model()
    return CompletionOverChat(chat.body, chat.model, chat.stream, chat.include_usage, chat.choices, chat.cap)
