"""LangChain, by langchain-openai."""

from __future__ import annotations

from typing import Any

from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel
from steps import (
    BASE_URL,
    BROKEN,
    CITY,
    EMBEDDING_MODEL,
    HELLO,
    KEY,
    LIMIT,
    MODEL,
    POOR_KEY,
    WEATHER,
    WRONG_KEY,
    main,
    raised,
    weather,
)


def model(key: str = KEY, **more: Any) -> ChatOpenAI:
    return ChatOpenAI(model=MODEL, base_url=BASE_URL, api_key=key, max_retries=0, max_completion_tokens=9, **more)


class City(BaseModel):
    """A city."""

    name: str
    people: int


@tool
def get_weather(city: str) -> str:
    """What the weather in a city is like."""
    return weather(city)


def chat() -> dict[str, Any]:
    reply = model().invoke(HELLO)
    usage = reply.usage_metadata
    figures = {"prompt_tokens": usage["input_tokens"], "completion_tokens": usage["output_tokens"]}
    return {"text": reply.content, "usage": figures}


def stream() -> dict[str, Any]:
    return {"text": "".join(piece.content for piece in model().stream(HELLO))}


def tools() -> dict[str, Any]:
    asked, bound = [HumanMessage(WEATHER)], model().bind_tools([get_weather])
    reply = bound.invoke(asked)
    called = reply.tool_calls[0]
    result = ToolMessage(get_weather.invoke(called["args"]), tool_call_id=called["id"])
    answer = bound.invoke([*asked, reply, result])
    return {"name": called["name"], "arguments": called["args"], "text": answer.content}


def structured() -> dict[str, Any]:
    return {"value": model().with_structured_output(City).invoke(CITY).model_dump()}


def embeddings() -> dict[str, Any]:
    return embedded(as_text=True)


def embeddings_of_ids() -> dict[str, Any]:
    return embedded(as_text=False)  # by default it sends lists of token ids


def embedded(*, as_text: bool) -> dict[str, Any]:
    made = OpenAIEmbeddings(
        model=EMBEDDING_MODEL, base_url=BASE_URL, api_key=KEY, max_retries=0, check_embedding_ctx_length=not as_text
    )
    vectors = made.embed_documents(["one", "two"])
    return {"vectors": len(vectors), "same_size": len(vectors[0]) == len(vectors[1])}


def broken_off() -> dict[str, Any]:
    return raised(lambda: list(model().stream(BROKEN)))


def unauthorised() -> dict[str, Any]:
    return raised(lambda: model(WRONG_KEY).invoke(HELLO))


def quota() -> dict[str, Any]:
    return raised(lambda: model(POOR_KEY).invoke(HELLO))


def rate_limited() -> dict[str, Any]:
    return raised(lambda: model().invoke(LIMIT))


if __name__ == "__main__":
    main(globals())
