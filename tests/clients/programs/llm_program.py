"""The command `llm`, with the gateway in its extra-openai-models.yaml."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from steps import BASE_URL, BROKEN, CITY, HELLO, KEY, LIMIT, MODEL, POOR_KEY, WEATHER, WRONG_KEY, main

FOLDER = tempfile.TemporaryDirectory(prefix="chatapi-llm-")
ENTRY = """
- model_id: {id}
  model_name: {model}
  api_base: {base}
  api_key_name: chatapi
  supports_tools: true
  supports_schema: true
"""
FUNCTIONS = "def get_weather(city: str) -> str:\n    'The weather'\n    return f'It is sunny in {city}.'\n"
SCHEMA = {"type": "object", "properties": {"name": {"type": "string"}, "people": {"type": "integer"}}}


def llm(*arguments: str, key: str = KEY) -> subprocess.CompletedProcess[str]:
    folder = Path(FOLDER.name)
    (folder / "extra-openai-models.yaml").write_text(ENTRY.format(id="ours", model=MODEL, base=BASE_URL))
    command = [str(Path(sys.executable).parent / "llm"), "-m", "ours", "--key", key, *arguments]
    environment = {**os.environ, "LLM_USER_PATH": FOLDER.name}
    return subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False
    )


def said(*arguments: str) -> str:
    done = llm(*arguments)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return done.stdout.removesuffix("\n")


def chat() -> dict[str, Any]:
    return {"text": said(HELLO, "--no-stream", "-o", "max_tokens", "9")}


def stream() -> dict[str, Any]:
    return {"text": said(HELLO, "-o", "max_tokens", "9")}


def tools() -> dict[str, Any]:
    return {"text": said(WEATHER, "--functions", FUNCTIONS), "name": "get_weather"}


def structured() -> dict[str, Any]:
    return {"value": json.loads(said(CITY, "--schema", json.dumps(SCHEMA), "--no-stream"))}


def failing(key: str, text: str) -> dict[str, Any]:
    done = llm(text, key=key)
    return {"error": done.stderr, "status": next((code for code in (401, 429) if str(code) in done.stderr), None)}


def broken_off() -> dict[str, Any]:
    return failing(KEY, BROKEN)


def unauthorised() -> dict[str, Any]:
    return failing(WRONG_KEY, HELLO)


def quota() -> dict[str, Any]:
    return failing(POOR_KEY, HELLO)


def rate_limited() -> dict[str, Any]:
    return failing(KEY, LIMIT)


if __name__ == "__main__":
    main(globals())
