"""OpenAI's SDK for Python, before a gateway: both of its clients behind one face."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import openai

from tests.support.http import NO_TLS


class Sdk:
    """The SDK's client, or its asynchronous one behind the same face."""

    def __init__(self, base_url: str, *, asynchronous: bool) -> None:
        self._base_url = base_url
        self._runner = asyncio.Runner() if asynchronous else None
        self._made: dict[tuple[str, int, bool], openai.OpenAI | openai.AsyncOpenAI] = {}

    def _client(self, key: str, retries: int = 0, strict: bool = True) -> Any:
        which = (key, retries, strict)
        if which not in self._made:
            given: dict[str, Any] = {"base_url": f"{self._base_url}/v1", "api_key": key, "max_retries": retries}
            given["_strict_response_validation"] = strict
            if self._runner:
                quick = openai.DefaultAsyncHttpxClient(verify=NO_TLS)
                self._made[which] = openai.AsyncOpenAI(**given, http_client=quick)
            else:
                self._made[which] = openai.OpenAI(**given, http_client=openai.DefaultHttpxClient(verify=NO_TLS))
        return self._made[which]

    def ask(self, call: Callable[[Any], Any], key: str, *, retries: int = 0, strict: bool = True) -> Any:
        """What a call returns; `strict` refuses a reply that is not to the letter what OpenAI's reference says."""
        given = call(self._client(key, retries, strict))
        return self._runner.run(_awaited(given)) if self._runner else given

    def stream(self, call: Callable[[Any], Any], key: str) -> list[Any]:
        """All events of a call that returns a stream."""
        if self._runner is None:
            return list(call(self._client(key)))

        async def collect() -> list[Any]:
            return [event async for event in await call(self._client(key))]

        return self._runner.run(collect())

    def close(self) -> None:
        """Close every connection."""
        for client in self._made.values():
            if self._runner:
                self._runner.run(client.close())  # type: ignore[arg-type]
            else:
                client.close()
        if self._runner:
            self._runner.close()


async def _awaited(given: Awaitable[Any]) -> Any:
    return await given  # a list of models is awaited, but is no coroutine
