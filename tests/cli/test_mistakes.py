"""What is set or typed wrongly is one clear sentence and exit status 1, never a traceback."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.gateway import Gateway


@pytest.fixture
def installation(sqlite_url: str, make_gateway: Callable[..., Gateway]) -> Gateway:
    """An installation that is not being served."""
    return make_gateway(sqlite_url, start=False)


def refused(installation: Gateway, *arguments: str, **environment: str) -> str:
    """What a command says that is refused."""
    done = installation.run(*arguments, environment=environment)
    assert (done.returncode, done.stdout) == (1, ""), done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CHATAPI_JWT_DAYS", "99999999"),
        ("CHATAPI_LOGIN_WINDOW_S", "99999999999"),
        ("CHATAPI_CALL_DEADLINE_S", "inf"),
        ("CHATAPI_WAIT_S", "nan"),
        ("CHATAPI_LEASE_S", "1e300"),
    ],
)
def test_numbers_that_no_calendar_and_no_clock_can_bear_are_refused(
    installation: Gateway, name: str, value: str
) -> None:
    assert name in refused(installation, "users", "list", **{name: value})
