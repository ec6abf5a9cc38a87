"""What only time brings: an access token that has expired, and a new day's quota. The clock is passed in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from chatapi.app import create_app, runtime_of
from tests.support.faults import FaultyUpstream
from tests.support.gateway import Gateway
from tests.support.routes import LIMIT_REACHED
from tests.support.users import PASSWORD, UserPool

AppAt = Callable[[datetime], FlaskClient]


@pytest.fixture
def app_at(
    database_url: str, faults: FaultyUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[AppAt]:
    """The app on one installation with prepared users, at a time of the test's choice."""
    installation = Gateway(database_url, upstream_url=faults.url, start=False)
    installation.import_users()
    for name, value in installation.environment.items():
        monkeypatch.setenv(name, value)
    with ExitStack() as stack:

        def make(now: datetime) -> FlaskClient:
            app = create_app(clock=lambda _: now)
            stack.callback(runtime_of(app).database.close)
            stack.callback(runtime_of(app).upstreams.close)
            return app.test_client()

        yield make
    installation.close()


def exchange(app: FlaskClient, username: str) -> tuple[int, str]:
    answer = app.post("/token", json={"u": username, "p": PASSWORD})
    return answer.status_code, answer.get_json()["message"]["token"]


def ask(app: FlaskClient, token: str) -> tuple[int, str]:
    answer = app.get("/api?q=hello", headers={"Authorization": f"Bearer {token}"})
    return answer.status_code, answer.get_json()["message"]


def test_after_the_access_token_has_expired_a_new_one_is_created(app_at: AppAt) -> None:
    username, now = UserPool().take().name, datetime.now(UTC)
    first = exchange(app_at(now), username)
    nearly = exchange(app_at(now + timedelta(days=30, minutes=-1)), username)
    later = app_at(now + timedelta(days=30, minutes=1))
    assert ask(later, first[1])[0] == 401
    after = exchange(later, username)
    assert [first[0], nearly[0], after[0]] == [201, 200, 201]
    assert first[1] == nearly[1] != after[1]
    assert ask(later, first[1])[0] == 401


def test_a_new_day_starts_at_nothing(app_at: AppAt) -> None:
    username = UserPool().take("one").name
    noon = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0)
    today, tomorrow = app_at(noon), app_at(noon + timedelta(hours=12, seconds=1))
    _, token = exchange(today, username)
    assert [ask(today, token)[0] for _ in range(2)] == [200, 429]
    assert ask(today, token)[1] == LIMIT_REACHED
    assert ask(tomorrow, token)[0] == 200
    assert ask(tomorrow, token)[0] == 429
