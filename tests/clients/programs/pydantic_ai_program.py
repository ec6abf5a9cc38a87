"""Pydantic AI."""

from __future__ import annotations

from typing import Any

from openai import AsyncOpenAI
from pydantic import BaseModel
from pydantic_ai import Agent, NativeOutput
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider
from steps import BASE_URL, BROKEN, CITY, HELLO, KEY, LIMIT, MODEL, POOR_KEY, WEATHER, WRONG_KEY, main, raised, waited
from steps import weather as weather_in


class City(BaseModel):
    """A city."""

    name: str
    people: int


def agent(key: str = KEY, output: Any = str, kind: Any = OpenAIChatModel) -> Agent[None, Any]:
    client = AsyncOpenAI(base_url=BASE_URL, api_key=key, max_retries=0)
    return Agent(kind(MODEL, provider=OpenAIProvider(openai_client=client)), output_type=output)


def chat() -> dict[str, Any]:
    result = agent().run_sync(HELLO, model_settings={"max_tokens": 9})
    usage = result.usage() if callable(result.usage) else result.usage
    figures = {"prompt_tokens": usage.input_tokens, "completion_tokens": usage.output_tokens}
    return {"text": result.output, "usage": figures}


def streamed(text: str) -> str:
    async def read() -> str:
        async with agent().run_stream(text, model_settings={"max_tokens": 9}) as result:
            return "".join([piece async for piece in result.stream_text(delta=True, debounce_by=None)])

    return str(waited(read()))


def stream() -> dict[str, Any]:
    return {"text": streamed(HELLO)}


def tools() -> dict[str, Any]:
    asked: dict[str, str] = {}
    made = agent()

    @made.tool_plain
    def get_weather(city: str) -> str:
        """What the weather in a city is like."""
        asked["city"] = city
        return weather_in(city)

    return {"text": made.run_sync(WEATHER).output, "name": "get_weather", "arguments": asked}


def structured() -> dict[str, Any]:
    return {"value": agent(output=NativeOutput(City)).run_sync(CITY).output.model_dump()}


def structured_by_tool() -> dict[str, Any]:
    return {"value": agent(output=City).run_sync(CITY).output.model_dump()}


def responses() -> dict[str, Any]:
    return {"text": agent(kind=OpenAIResponsesModel).run_sync(HELLO).output}


def broken_off() -> dict[str, Any]:
    return raised(lambda: streamed(BROKEN))


def unauthorised() -> dict[str, Any]:
    return raised(lambda: agent(WRONG_KEY).run_sync(HELLO))


def quota() -> dict[str, Any]:
    return raised(lambda: agent(POOR_KEY).run_sync(HELLO))


def rate_limited() -> dict[str, Any]:
    return raised(lambda: agent().run_sync(LIMIT))


if __name__ == "__main__":
    main(globals())
