"""What the tests of the upstreams file share: reading a text as one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from chatapi.errors import ConfigurationError
from chatapi.settings.upstreams import UpstreamsFile
from chatapi.settings.upstreams_file import load_upstreams_file
from tests.support.upstreams_files import ENVIRONMENT, Load, ProblemsOf


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def from_text(text: str, environment: Mapping[str, str] = ENVIRONMENT) -> UpstreamsFile:
        file = tmp_path / "upstreams.toml"
        file.write_bytes(text.encode())
        return load_upstreams_file(file, environment)

    return from_text


@pytest.fixture
def problems(load: Load, tmp_path: Path) -> ProblemsOf:
    """The problems of a text, without the file's name, which each must begin with."""

    def of(text: str) -> list[str]:
        with pytest.raises(ConfigurationError) as caught:
            load(text)
        start = f"{tmp_path / 'upstreams.toml'}:"
        rows = str(caught.value).splitlines()
        assert all(row.startswith(start) for row in rows)
        return [row.removeprefix(start) for row in rows]

    return of
