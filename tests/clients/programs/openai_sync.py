"""OpenAI's SDK for Python, the major version before the one that the gateway itself uses."""

from __future__ import annotations

import json
from typing import Any

from openai import OpenAI, pydantic_function_tool
from pydantic import BaseModel
from steps import (
    BASE_URL,
    BROKEN,
    CITY,
    EMBEDDING_MODEL,
    HELLO,
    KEY,
    LIMIT,
    LONG,
    MODEL,
    POOR_KEY,
    SAY,
    WEATHER,
    WRONG_KEY,
    main,
    raised,
    weather,
)

client = OpenAI(base_url=BASE_URL, api_key=KEY, max_retries=0)


class City(BaseModel):
    name: str
    people: int


class GetWeather(BaseModel):
    city: str


TOOLS = [pydantic_function_tool(GetWeather, name="get_weather")]


def chat(with_client: OpenAI = client, text: str = HELLO) -> dict[str, Any]:
    reply = with_client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": text}], max_tokens=9)
    choice = reply.choices[0]
    return {"text": choice.message.content, "finish": choice.finish_reason, "usage": reply.usage.model_dump()}


def stream() -> dict[str, Any]:
    events = client.chat.completions.create(
        model=MODEL, messages=[SAY], max_tokens=9, stream=True, stream_options={"include_usage": True}
    )
    pieces, usage = [], None
    for event in events:
        pieces += [choice.delta.content or "" for choice in event.choices]
        usage = event.usage or usage
    return {"text": "".join(pieces), "usage": usage.model_dump()}


def tools() -> dict[str, Any]:
    messages: list[Any] = [{"role": "user", "content": WEATHER}]
    message = client.chat.completions.create(model=MODEL, messages=messages, tools=TOOLS).choices[0].message
    called = message.tool_calls[0]
    arguments = json.loads(called.function.arguments)
    messages += [message, {"role": "tool", "tool_call_id": called.id, "content": weather(**arguments)}]
    answer = client.chat.completions.create(model=MODEL, messages=messages, tools=TOOLS)
    return {"name": called.function.name, "arguments": arguments, "text": answer.choices[0].message.content}


def structured() -> dict[str, Any]:
    asked = [{"role": "user", "content": CITY}]
    reply = client.chat.completions.parse(model=MODEL, messages=asked, response_format=City)
    return {"value": reply.choices[0].message.parsed.model_dump()}


def responses() -> dict[str, Any]:
    reply = client.responses.create(model=MODEL, input=HELLO)
    return {"text": reply.output_text}


def embeddings() -> dict[str, Any]:
    reply = client.embeddings.create(model=EMBEDDING_MODEL, input=["one", "two"])
    return {"vectors": len(reply.data), "same_size": len({len(one.embedding) for one in reply.data}) == 1}


def models() -> dict[str, Any]:
    ids = [model.id for model in client.models.list()]
    return {"ids": ids, "found": client.models.retrieve(ids[0]).id == ids[0]}


def truncated() -> dict[str, Any]:
    return chat(text=LONG)


def broken_off() -> dict[str, Any]:
    asked: list[Any] = [{"role": "user", "content": BROKEN}]
    return raised(lambda: list(client.chat.completions.create(model=MODEL, messages=asked, stream=True)))


def unauthorised() -> dict[str, Any]:
    return raised(lambda: chat(client.with_options(api_key=WRONG_KEY)))


def quota() -> dict[str, Any]:
    poor = client.with_options(api_key=POOR_KEY, max_retries=2)
    return raised(lambda: chat(poor))


def rate_limited() -> dict[str, Any]:
    return raised(lambda: chat(text=LIMIT))


if __name__ == "__main__":
    main(globals())
