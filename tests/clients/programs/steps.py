"""What the programs for Python share: `python PROGRAM STEP …` does the steps and prints one JSON object of results."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable
from typing import Any

BASE_URL, KEY = os.environ["CHATAPI_BASE_URL"], os.environ["CHATAPI_KEY"]
WRONG_KEY, POOR_KEY = "sk-no-access-token", os.environ["CHATAPI_POOR_KEY"]
MODEL = os.environ["CHATAPI_MODEL"]
EMBEDDING_MODEL = "text-embedding-3-small"
HELLO, WEATHER, CITY = "Say hello.", "How is the weather?", "Describe a city."
LIMIT, LONG, BROKEN = "Meet a limit.", "A long one.", "Break off."
SAY = {"role": "user", "content": HELLO}


def weather(city: str) -> str:
    """What the weather in a city is like."""
    return f"It is sunny in {city}."


def described(error: BaseException) -> dict[str, Any]:
    """An error as a result: its class, and the status that it or its cause has."""
    status, cause = None, error
    while cause is not None and status is None:
        status, cause = getattr(cause, "status_code", None), cause.__cause__
    return {"error": type(error).__name__, "status": status, "message": str(error)}


def raised(call: Callable[[], Any]) -> dict[str, Any]:
    """The result of a call that must fail."""
    try:
        return {"answered": str(call())}
    except Exception as error:
        return described(error)


def waited(coroutine: Any) -> Any:
    """What a coroutine returns."""
    return asyncio.run(coroutine)


def main(steps: dict[str, Callable[[], Any]]) -> None:
    """Do the steps that were named."""
    results = {}
    for name in sys.argv[1:]:
        try:
            results[name] = steps[name]()
        except Exception as error:
            results[name] = {"failed": repr(error)[:2000]}
    print(json.dumps(results, default=str))
