"""Where settings come from beside the environment: a file in `envs/`, and the JSON file of old clients."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic_settings import PydanticBaseSettingsSource

from chatapi.errors import ConfigurationError

PROJECT_ROOT = Path(__file__).resolve().parents[2]
LEGACY_CONFIG_NAMES = {"api": "OPENAI_API_KEY", "jwt_secret_key": "CHATAPI_JWT_SECRET_KEY"}


class LegacyConfig(PydanticBaseSettingsSource):
    """`envs/configs`: the JSON file `{"api": <OpenAI key>, "jwt_secret_key": …}` of earlier installations."""

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:
        """Unused: the file is read whole by `__call__`."""
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        """The settings that the file gives, by their environment names."""
        path = PROJECT_ROOT / "envs" / "configs"
        if not path.is_file():
            return {}
        try:
            values = json.loads(path.read_text("utf-8"))
        except ValueError as error:
            raise ConfigurationError(f"{path.name}: envs/configs is not valid JSON: {error}") from error
        if not isinstance(values, dict):
            raise ConfigurationError(
                'envs/configs must be a JSON object such as {"api": "sk-…", "jwt_secret_key": "…"}'
            )
        return {
            LEGACY_CONFIG_NAMES[key]: value for key, value in values.items() if key in LEGACY_CONFIG_NAMES and value
        }
