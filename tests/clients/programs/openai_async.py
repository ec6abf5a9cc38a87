"""OpenAI's SDK for Python, asynchronous."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from openai import AsyncOpenAI
from openai_sync import TOOLS, City
from steps import (
    BASE_URL,
    CITY,
    EMBEDDING_MODEL,
    HELLO,
    KEY,
    LIMIT,
    MODEL,
    POOR_KEY,
    SAY,
    WEATHER,
    WRONG_KEY,
    main,
    raised,
    waited,
)


def client_of(key: str = KEY) -> AsyncOpenAI:
    return AsyncOpenAI(base_url=BASE_URL, api_key=key, max_retries=0)


async def ask(key: str = KEY, text: str = HELLO) -> dict[str, Any]:
    async with client_of(key) as client:
        said: list[Any] = [{"role": "user", "content": text}]
        reply = await client.chat.completions.create(model=MODEL, messages=said, max_tokens=9)
    return {"text": reply.choices[0].message.content, "usage": reply.usage.model_dump()}


def chat() -> dict[str, Any]:
    return waited(ask())


def stream() -> dict[str, Any]:
    async def read() -> dict[str, Any]:
        async with client_of() as client:
            events = await client.chat.completions.create(model=MODEL, messages=[SAY], stream=True, max_tokens=9)
            pieces = [event.choices[0].delta.content or "" async for event in events if event.choices]
        return {"text": "".join(pieces)}

    return waited(read())


def at_once() -> dict[str, Any]:
    async def ask_all() -> list[Any]:
        return await asyncio.gather(*(ask() for _ in range(8)))

    return {"texts": [answer["text"] for answer in waited(ask_all())]}


def tools() -> dict[str, Any]:
    async def read() -> dict[str, Any]:
        async with client_of() as client:
            events = await client.chat.completions.create(
                model=MODEL, messages=[{"role": "user", "content": WEATHER}], tools=TOOLS, stream=True
            )
            calls = [
                call async for event in events for choice in event.choices for call in choice.delta.tool_calls or []
            ]
        arguments = "".join(call.function.arguments or "" for call in calls)
        return {"name": calls[0].function.name, "arguments": json.loads(arguments)}

    return waited(read())


def structured() -> dict[str, Any]:
    async def read() -> dict[str, Any]:
        async with client_of() as client:
            asked: list[Any] = [{"role": "user", "content": CITY}]
            reply = await client.chat.completions.parse(model=MODEL, messages=asked, response_format=City)
        return {"value": reply.choices[0].message.parsed.model_dump()}

    return waited(read())


def embeddings() -> dict[str, Any]:
    async def read() -> dict[str, Any]:
        async with client_of() as client:
            reply = await client.embeddings.create(model=EMBEDDING_MODEL, input="one")
        return {"vectors": len(reply.data), "same_size": True}

    return waited(read())


def models() -> dict[str, Any]:
    async def read() -> list[str]:
        async with client_of() as client:
            return [model.id async for model in client.models.list()]

    return {"ids": waited(read()), "found": True}


def unauthorised() -> dict[str, Any]:
    return raised(lambda: waited(ask(WRONG_KEY)))


def quota() -> dict[str, Any]:
    return raised(lambda: waited(ask(POOR_KEY)))


def rate_limited() -> dict[str, Any]:
    return raised(lambda: waited(ask(text=LIMIT)))


if __name__ == "__main__":
    main(globals())
