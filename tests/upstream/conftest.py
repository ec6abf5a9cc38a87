from __future__ import annotations

from collections.abc import Iterator

import pytest

from chatapi.upstream.transport import runs_gevent
from tests.upstream import servers

collect_ignore = [] if runs_gevent() else ["test_pool.py"]

FOREIGN = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY", "OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_ORG_ID")


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*FOREIGN, "OPENAI_PROJECT_ID", "AZURE_OPENAI_ENDPOINT", "AZURE_OPENAI_API_KEY", "AZURE_OPENAI_KEY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture(params=["asked", "relayed"])
def way(request: pytest.FixtureRequest) -> Iterator[str]:
    """The way up by which the test calls its upstreams: the openai client's, or the relay's."""
    servers.way = request.param
    yield request.param
    servers.way = "asked"
