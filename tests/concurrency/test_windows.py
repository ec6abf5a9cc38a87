"""Windows are local days and months of the tenant, by the database's clock: at midnights, where clocks change, where
months end, where a tenant moves to another time zone, and on machines whose own clocks are wrong."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select
from werkzeug.serving import make_server

from chatapi.app import create_app, runtime_of
from chatapi.domain.calls import AttemptState, CallState, Charge, Decision, Grant, Settlement
from chatapi.domain.limits import Denial, Metric
from chatapi.domain.principals import Claims
from chatapi.domain.usage import Usage, UsageSource
from chatapi.domain.windows import Window
from chatapi.settings import Settings
from chatapi.storage.tables import usage_days
from tests.concurrency.model import utc
from tests.concurrency.world import Clock, LastingDatabase, World, ask
from tests.support import administration
from tests.support.faults import FaultyUpstream
from tests.support.gateway import JWT_SECRET, ONE_WORKER, MakeGateway
from tests.support.http import Http
from tests.support.postgres import FreshDatabase
from tests.support.processes import PROJECT_ROOT
from tests.support.routes import API, COMPLETIONS
from tests.support.users import PASSWORD

AN_HOUR_S = 3600
TWO_A_DAY = {(Metric.REQUESTS, Window.DAY): 2}
SHIFTS_S = {"sqlite": -20 * AN_HOUR_S, "postgresql": 20 * AN_HOUR_S}  # of the wrong machine's clock


def user_in(emptied: LastingDatabase, zone: str, start: datetime) -> tuple[World, Clock, Claims]:
    """A user with two requests a day, in a tenant that lives in `zone`, at `start`."""
    world = emptied.world(start, TWO_A_DAY)
    assert world.clock is not None
    world.add_tenant("somewhere", zone)
    return world, world.clock, world.add_user("somebody", "somewhere")


def answered(world: World, claims: Claims) -> Decision:
    """One call by a worker that lives; it is answered if it is admitted."""
    decision = world.writer.submit(ask(claims, world.worker()))
    if isinstance(decision, Grant):
        charge = Charge(answered=True, usage=Usage(5, 0, 5, 0, UsageSource.UPSTREAM))
        world.writer.submit(Settlement(decision.call, CallState.SETTLED, charge, "completed", AttemptState.ANSWERED))
    return decision


# zone, the first instant of a day (UTC), its local date, its length in hours
DAYS = [
    ("Asia/Tokyo", "2026-11-20T15:00:00", "2026-11-21", 24),
    ("Europe/Berlin", "2026-03-28T23:00:00", "2026-03-29", 23),
    ("Europe/Berlin", "2026-10-24T22:00:00", "2026-10-25", 25),
    ("America/New_York", "2026-03-08T05:00:00", "2026-03-08", 23),
    ("America/New_York", "2026-11-01T04:00:00", "2026-11-01", 25),
    ("Asia/Beirut", "2026-03-28T22:00:00", "2026-03-29", 23),  # midnight itself does not exist: the day begins at 1:00
    ("Atlantic/Azores", "2026-10-25T00:00:00", "2026-10-25", 25),  # midnight comes twice
]


@pytest.mark.parametrize(("zone", "begins", "day", "hours"), DAYS)
def test_a_day_is_as_long_as_the_tenants_calendar_has_it(
    emptied: LastingDatabase, zone: str, begins: str, day: str, hours: int
) -> None:
    begin = utc(begins)
    end = begin + timedelta(hours=hours)
    world, clock, claims = user_in(emptied, zone, begin)
    first = answered(world, claims)
    clock.now = end - timedelta(seconds=1)
    last = answered(world, claims)
    denial = answered(world, claims)
    assert isinstance(first, Grant) and isinstance(last, Grant) and isinstance(denial, Denial)
    assert {first.call.day, last.call.day} == {day}
    assert denial.standing.resets_at == end
    assert denial.retry_after_s == 1
    clock.now = end
    tomorrow = answered(world, claims)
    assert isinstance(tomorrow, Grant)
    assert tomorrow.call.day > day
    assert tomorrow.standings[0].used == 0
    clock.now = begin + timedelta(seconds=1)
    early = answered(world, claims)
    assert isinstance(early, Denial)
    assert early.retry_after_s == hours * AN_HOUR_S - 1
    assert world.audit() == []


def test_a_call_belongs_to_the_day_on_which_it_was_admitted(emptied: LastingDatabase) -> None:
    world, clock, claims = user_in(emptied, "Asia/Tokyo", utc("2026-11-21T14:59:59"))
    decision = world.writer.submit(ask(claims, world.worker()))
    assert isinstance(decision, Grant)
    clock.now = utc("2026-11-21T15:00:01")
    charge = Charge(answered=True, usage=Usage(5, 0, 5, 0, UsageSource.UPSTREAM))
    world.writer.submit(Settlement(decision.call, CallState.SETTLED, charge, "completed", AttemptState.ANSWERED))
    with world.database.read() as connection:
        (row,) = connection.execute(select(usage_days.c.day, usage_days.c.requests)).all()
    assert tuple(row) == ("2026-11-21", 1)
    assert [type(answered(world, claims)) for _ in range(3)] == [Grant, Grant, Denial]
    assert world.audit() == []


@pytest.mark.parametrize(
    ("zone", "last", "key"),
    [
        ("Asia/Tokyo", "2026-11-30T14:59:59", "2026-11"),
        ("Europe/Berlin", "2026-10-31T22:59:59", "2026-10"),  # the month's clocks had changed
        ("America/New_York", "2027-01-01T04:59:59", "2026-12"),
        ("UTC", "2028-02-29T23:59:59", "2028-02"),
    ],
)
def test_a_months_window_ends_with_the_tenants_month(emptied: LastingDatabase, zone: str, last: str, key: str) -> None:
    world, clock, claims = user_in(emptied, zone, utc(last))
    tenant_id = claims.tenant_id
    world.set_limit("tenant", tenant_id, Metric.TOKENS, Window.MONTH, 30, tenant_id=tenant_id)
    first = answered(world, claims)
    assert isinstance(first, Grant)
    assert first.call.day.startswith(key)
    denial = answered(world, claims)
    assert isinstance(denial, Denial)
    assert (denial.standing.limit.window, denial.retry_after_s) == (Window.MONTH, 1)
    clock.move(1)
    assert isinstance(answered(world, claims), Grant)
    assert world.audit() == []


def test_a_changed_time_zone_begins_after_the_longest_open_window(emptied: LastingDatabase) -> None:
    world, clock, claims = user_in(emptied, "Asia/Tokyo", utc("2026-11-30T14:00:00"))
    begins = utc("2026-11-30T15:00:00")
    world.change("tenants", claims.tenant_id, next_timezone="America/New_York", next_timezone_from=begins)
    before = answered(world, claims)
    clock.now = begins
    after = answered(world, claims)
    denial = answered(world, claims)
    assert isinstance(before, Grant) and isinstance(after, Grant) and isinstance(denial, Denial)
    # West of it the day is still the same one, so what was used counts on, until midnight there.
    assert (before.call.day, after.call.day) == ("2026-11-30", "2026-11-30")
    assert denial.standing.resets_at == utc("2026-12-01T05:00:00")
    clock.now = utc("2026-12-01T05:00:00")
    assert isinstance(answered(world, claims), Grant)
    assert world.audit() == []


@contextmanager
def served(url: str, clock: Clock, faults: FaultyUpstream, folder: Path) -> Iterator[tuple[Http, str]]:
    """The service with a clock of the test's under a threaded server; HTTP to it, and a user's JWT."""
    settings = Settings(
        database_url=url, var_dir=folder, jwt_secret_key=JWT_SECRET, openai_base_url=faults.url, openai_api_key="sk-x",
        timezone="Asia/Tokyo", daily_requests=2, model="tiny",
    )  # fmt: skip
    app = create_app(settings, clock=clock)
    administration.add_user(runtime_of(app), "somebody", PASSWORD)
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    http = Http(f"http://127.0.0.1:{server.port}")
    try:
        yield http, http.post("/token", json={"u": "somebody", "p": PASSWORD}).json()["message"]["token"]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        http.close()
        runtime_of(app).upstreams.close()
        runtime_of(app).database.close()


def test_through_the_front_door_a_new_day_begins_at_the_tenants_midnight(
    database_url: str, faults: FaultyUpstream, tmp_path: Path
) -> None:
    clock = Clock(
        datetime.now(UTC).replace(hour=14, minute=59, second=30, microsecond=0)
    )  # in Tokyo half a minute is left
    with served(database_url, clock, faults, tmp_path) as (http, token):
        answers = [http.get("/api", params={"q": "hello"}, access_token=token) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200, 200, 429]
        assert answers[2].headers["retry-after"] == "30"
        clock.move(29.5)
        assert http.get("/api", params={"q": "hello"}, access_token=token).headers["retry-after"] == "1"
        clock.move(0.5)
        answers = [http.get("/api", params={"q": "hello"}, access_token=token) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200, 200, 429]
        assert answers[2].headers["retry-after"] == "86400"


@pytest.mark.usefixtures("far_from_midnight")
@pytest.mark.parametrize("kind", SHIFTS_S)
def test_machines_whose_clocks_differ_agree_on_windows_and_on_access_tokens(
    fresh_database: FreshDatabase, make_gateway: MakeGateway, kind: str, marker: str
) -> None:
    url = fresh_database(kind)
    right = make_gateway(url, environment=ONE_WORKER, start=False)
    right.start_with_users()
    shifted_path = f"{PROJECT_ROOT / 'tests' / 'support' / 'shifted_clock'}:{PROJECT_ROOT}"
    shifted = make_gateway(url, environment={**ONE_WORKER, "PYTHONPATH": shifted_path, "SHIFT_S": str(SHIFTS_S[kind])})
    user = right.users.take("plain")
    tokens = [gateway.exchange(user.name).json()["message"]["token"] for gateway in (shifted, right)]
    assert tokens[0] == tokens[1]
    pairs = [(gateway, COMPLETIONS.ask(gateway, marker, tokens[0])) for gateway in [right, shifted] * 5]
    assert [answer.status_code for _, answer in pairs] == [200] * 10
    remaining = [answer.headers["x-ratelimit-remaining-requests"] for _, answer in pairs]
    assert remaining == [str(left) for left in reversed(range(10))]
    resets = [seconds(answer.headers["x-ratelimit-reset-requests"]) for _, answer in pairs]
    assert max(resets) - min(resets) < 60
    denials = [API.ask(gateway, marker, tokens[0]) for gateway in (right, shifted)]
    assert [denial.status_code for denial in denials] == [429, 429]
    waits = [int(denial.headers["retry-after"]) for denial in denials]
    assert abs(waits[0] - waits[1]) <= 2
    assert len({row["day"] for row in right.usage(user.tenant)}) == 1
    assert right.run("audit").returncode == shifted.run("audit").returncode == 0


def seconds(duration: str) -> int:
    """The seconds of a duration as OpenAI writes it, such as 3h5m12s."""
    units = {"h": 3600, "m": 60, "s": 1}
    return sum(int(number) * units[unit] for number, unit in re.findall(r"(\d+)([hms])", duration))
