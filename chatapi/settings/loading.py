"""Reading the settings, once, at start."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from dotenv import dotenv_values
from pydantic import ValidationError

from chatapi.errors import ConfigurationError
from chatapi.settings.model import Settings
from chatapi.settings.sources import PROJECT_ROOT
from chatapi.settings.upstreams import UpstreamsFile
from chatapi.settings.upstreams_file import load_upstreams_file


def load_settings(**overrides: Any) -> Settings:
    """Read the settings once. `overrides` win over everything, by field name.

    Raises:
        ConfigurationError: naming each setting that is wrong, and why; or the file that cannot be read.
    """
    env_file = _env_file()
    try:
        return Settings(_env_file=env_file, **overrides)  # type: ignore[call-arg]
    except UnicodeDecodeError:
        raise ConfigurationError(f"CHATAPI_ENV_FILE: {env_file} is not UTF-8 text") from None
    except OSError as error:
        raise ConfigurationError(f"The settings cannot be read: {error}") from error
    except ValidationError as error:
        problems = "\n".join(
            f"{'.'.join(map(str, e['loc']))}: {e['msg'].removeprefix('Value error, ')}" for e in error.errors()
        )
        raise ConfigurationError(f"These settings are wrong:\n{problems}") from None


def load_catalogue(settings: Settings) -> UpstreamsFile | None:
    """Read the upstreams file, if there is one; its keys are looked up where settings are.

    Raises:
        ConfigurationError: a line for each thing that is wrong in it.
    """
    path = settings.catalogue_file
    if path is None:
        return None
    env_file = _env_file()
    from_file = dotenv_values(env_file) if env_file else {}
    environment = {name: value for name, value in from_file.items() if value is not None} | dict(os.environ)
    return load_upstreams_file(path, environment)


def _env_file() -> Path | None:
    """The file that settings are read from besides the environment, if there is one."""
    named = os.environ.get("CHATAPI_ENV_FILE")
    env_file = Path(named) if named else PROJECT_ROOT / "envs" / ".env"
    if named and not env_file.exists():
        raise ConfigurationError(f"CHATAPI_ENV_FILE: there is no file {named}")
    if env_file.is_dir():
        raise ConfigurationError(f"CHATAPI_ENV_FILE: {env_file} is a folder, not a file")
    return env_file if env_file.exists() else None
