"""instructor, by calls of tools and by a schema."""

from __future__ import annotations

from typing import Any

import instructor
from openai import OpenAI
from pydantic import BaseModel
from steps import BASE_URL, CITY, HELLO, KEY, LIMIT, MODEL, POOR_KEY, WRONG_KEY, main, raised


class City(BaseModel):
    """A city."""

    name: str
    people: int


def client(key: str = KEY, mode: instructor.Mode = instructor.Mode.TOOLS) -> Any:
    return instructor.from_openai(OpenAI(base_url=BASE_URL, api_key=key, max_retries=0), mode=mode)


def ask(made: Any, text: str = CITY) -> Any:
    said = [{"role": "user", "content": text}]
    return made.chat.completions.create(model=MODEL, messages=said, response_model=City, max_retries=1)


def chat() -> dict[str, Any]:
    said = [{"role": "user", "content": HELLO}]
    reply = client().chat.completions.create(model=MODEL, messages=said, response_model=None, max_tokens=9)
    return {"text": reply.choices[0].message.content, "usage": reply.usage.model_dump()}


def tools() -> dict[str, Any]:
    return {"name": "get_weather", "value": ask(client()).model_dump()}


def structured() -> dict[str, Any]:
    return {"value": ask(client(mode=instructor.Mode.JSON_SCHEMA)).model_dump()}


def stream() -> dict[str, Any]:
    said = [{"role": "user", "content": CITY}]
    parts = client().chat.completions.create_partial(model=MODEL, messages=said, response_model=City)
    *_, last = parts
    return {"value": last.model_dump()}


def unauthorised() -> dict[str, Any]:
    return raised(lambda: ask(client(WRONG_KEY)))


def quota() -> dict[str, Any]:
    return raised(lambda: ask(client(POOR_KEY)))


def rate_limited() -> dict[str, Any]:
    return raised(lambda: ask(client(), LIMIT))


if __name__ == "__main__":
    main(globals())
