"""Texts of upstreams files, right but for what a test adds, and the keys that they name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from chatapi.settings import PROJECT_ROOT
from chatapi.settings.upstreams import UpstreamsFile
from tests.support.gateway import Gateway, MakeGateway

EXAMPLE = PROJECT_ROOT / "envs" / "upstreams.example.toml"
KEY, AZURE_KEY = "sk-proj-very-secret-0123456789", "0123456789abcdef0123456789abcdef"
ENVIRONMENT = {"OPENAI_API_KEY": KEY, "AZURE_OPENAI_API_KEY": f" {AZURE_KEY}\n", "EMPTY": " ", "CUT": "sk one two"}
GOOD = '[[upstreams]]\nname = "openai"\nkind = "openai"\napi_key_env = "OPENAI_API_KEY"\n'  # four lines
Load = Callable[[str], UpstreamsFile]
ProblemsOf = Callable[[str], list[str]]


def second(body: str) -> str:
    """A file whose second upstream begins in line 6, with this body from line 7 on."""
    return f"{GOOD}\n[[upstreams]]\n{body}"


def with_upstreams(make: MakeGateway, database_url: str, path: Path, text: str) -> Gateway:
    """A gateway with prepared users whose upstreams file is this text, written to `path`."""
    path.write_text(text)
    environment = {"CHATAPI_UPSTREAMS_FILE": str(path)}
    made = make(database_url, upstream_url=None, environment=environment, start=False)
    made.start_with_users()
    return made
