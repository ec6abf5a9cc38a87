"""How a setting is declared: its name in the environment, its default, its bounds, and what it is for."""

from __future__ import annotations

from typing import Any

from pydantic import AliasChoices, Field

LONGEST_S = 86_400  # no wait of ours is longer than a day, and dates must stay those of a calendar
SECRETS = frozenset(  # never in a traceback or a log; addresses may carry passwords
    {
        "OPENAI_API_KEY",
        "AZURE_OPENAI_API_KEY",
        "CHATAPI_JWT_SECRET_KEY",
        "CHATAPI_ENCRYPTION_KEYS",
        "CHATAPI_DATABASE_URL",
        "HTTPS_PROXY",
    }
)


def named(name: str, *others: str, default: Any, description: str, **bounds: Any) -> Any:
    """A field that is read from the environment variable `name` (or, failing that, from one of `others`)."""
    aliases = AliasChoices(name, *others)
    if name.endswith("_S"):
        bounds["le"] = LONGEST_S
    return Field(default, validation_alias=aliases, description=description, repr=name not in SECRETS, **bounds)
