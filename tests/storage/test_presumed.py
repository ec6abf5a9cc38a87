"""Lone admissions on PostgreSQL that are presumed to be granted: right whatever has changed, and seldom in vain."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import insert

from chatapi.domain.calls import Decision, Grant, Outdated, Planned, Refusal
from chatapi.domain.limits import Denial, Metric, Need, Scope
from chatapi.domain.principals import Claims
from chatapi.domain.windows import Window
from chatapi.storage import calendar, presumed
from chatapi.storage.admin_tables import upstream_keys
from chatapi.storage.grants import LimitGrant, insert_grant, withdraw
from chatapi.storage.guessing import GuessedWrong
from chatapi.storage.ledger import Ledger
from chatapi.storage.postgresql import Connection
from tests.concurrency.world import LEASE_S, World, ask, world_of

NEED = Need(10, 20, 1)
HELD = 30  # tokens, by a call with that need
WEST, EAST = "Pacific/Pago_Pago", "Pacific/Kiritimati"  # it is never the same day there
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


@dataclass
class Office:
    """Where ann asks for calls, one by one. Three fit under her limit, the third one because of a grant."""

    world: World
    url: str
    worker_id: str
    grant: LimitGrant
    presumed: list[bool] = field(default_factory=list)
    """Of each admission from now on, whether it was presumed to be granted."""
    wrong: list[bool] = field(default_factory=list)
    """One for each time that something was guessed wrong."""

    @property
    def claims(self) -> Claims:
        """Ann's."""
        return self.world.users["ann"]

    def ask(self) -> Decision:
        """Ask for one more call."""
        return self.world.writer.submit(ask(self.claims, self.worker_id, NEED))

    def change(self, table: str, identity: str, **values: object) -> None:
        """Another process changes a row."""
        self.world.change(table, identity, **values)

    def set_limit(self, tokens: int) -> None:
        """Another process sets ann's limit of tokens a day."""
        of_ann = ("user", self.claims.user_id, Metric.TOKENS, Window.DAY)
        self.world.set_limit(*of_ann, tokens, tenant_id=self.claims.tenant_id)

    def withdraw(self) -> None:
        """Another process takes the grant back."""
        with self.world.database.write() as connection:
            withdraw(connection, replace(self.grant, withdrawn_at=LONG_AGO))

    def bring_a_key(self) -> None:
        """Another process keeps a key of the tenant's own."""
        row = {
            "tenant_id": self.claims.tenant_id,
            "upstream": "compatible",
            "sealed_key": b"sealed",
            "set_at": LONG_AGO,
        }
        with self.world.database.write() as connection:
            connection.execute(insert(upstream_keys), row)

    def use_up(self) -> None:
        """Another process admits what there was room for."""
        with world_of(self.url) as other:
            assert isinstance(other.writer.submit(ask(self.claims, other.worker(), NEED)), Grant)
        self.presumed.clear()

    def set_clock(self, seconds: float) -> None:
        """This machine's clock is set."""
        self.world.ledger._calendar._ahead += timedelta(seconds=seconds)


@pytest.fixture
def office(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Office]:
    with world_of(postgres_url) as world:
        world.add_tenant("acme", WEST)
        claims = world.add_user("ann", "acme")
        for scope_id, scope, metric, window, value, model in (
            (claims.tenant_id, "tenant", Metric.TOKENS, Window.MONTH, 10_000, ""),
            (claims.tenant_id, "tenant", Metric.REQUESTS, Window.MINUTE, 100, ""),
            (claims.tenant_id, "each_user", Metric.REQUESTS, Window.AT_ONCE, 50, ""),
            (claims.user_id, "user", Metric.TOKENS, Window.DAY, 2 * HELD, ""),
            (claims.user_id, "user", Metric.REQUESTS, Window.DAY, 70, "tiny"),
        ):
            world.set_limit(scope, scope_id, metric, window, value, tenant_id=claims.tenant_id, model=model)
        today = datetime.now(ZoneInfo(WEST)).date().isoformat()
        of_ann = (claims.tenant_id, Scope.USER, claims.user_id, Metric.TOKENS, Window.DAY, today, "")
        grant = LimitGrant(*of_ann, HELD, "", LONG_AGO, LONG_AGO)
        with world.database.write() as connection:
            insert_grant(connection, grant)
        office = Office(world, postgres_url, world.worker(), grant)
        _watch(office, monkeypatch)
        for _ in range(2):  # with the first one, what holds becomes known
            assert isinstance(office.ask(), Grant)
        assert (office.presumed, office.wrong) == ([False, True], [])
        office.presumed.clear()
        yield office
        assert world.audit() == []


def _watch(office: Office, patch: pytest.MonkeyPatch) -> None:
    admit, exchange = presumed.Presumptions.admit, Connection.exchange

    def seen_admit(*arguments: object) -> Callable[[], Decision] | None:
        found = admit(*arguments)  # type: ignore[arg-type]
        office.presumed.append(found is not None)
        return found

    def seen_exchange(self: Connection, *, commit: bool = False) -> None:
        try:
            exchange(self, commit=commit)
        except GuessedWrong:
            office.wrong.append(True)
            raise

    patch.setattr(presumed.Presumptions, "admit", seen_admit)
    patch.setattr(Connection, "exchange", seen_exchange)


def now() -> datetime:
    """The instant, by the clock that the database has as well."""
    return datetime.now(UTC)


CHANGES: dict[str, tuple[Callable[[Office], None], object]] = {
    "revoked": (lambda o: o.change("access_tokens", o.claims.jti, revoked_at=now()), Refusal.UNKNOWN_ACCESS_TOKEN),
    "expired": (lambda o: o.change("access_tokens", o.claims.jti, expires_at=now()), Refusal.UNKNOWN_ACCESS_TOKEN),
    "disabled": (lambda o: o.change("users", o.claims.user_id, status="disabled"), Refusal.UNKNOWN_ACCESS_TOKEN),
    "closed": (lambda o: o.change("tenants", o.claims.tenant_id, status="closed"), Refusal.UNKNOWN_ACCESS_TOKEN),
    "lease": (
        lambda o: o.change("workers", o.worker_id, renewed_at=now() - timedelta(seconds=LEASE_S)),
        Refusal.LEASE_EXPIRED,
    ),
    "model of the user": (lambda o: o.change("users", o.claims.user_id, models='["b*"]'), Refusal.MODEL_NOT_ALLOWED),
    "model of the token": (
        lambda o: o.change("access_tokens", o.claims.jti, models='["b*"]'),
        Refusal.MODEL_NOT_ALLOWED,
    ),
    "model of the tenant": (
        lambda o: o.change("tenants", o.claims.tenant_id, models='["b*"]'),
        Refusal.MODEL_NOT_ALLOWED,
    ),
    "near the limit": (lambda o: o.change("tenants", o.claims.tenant_id, near_limit="refuse"), Grant),
    "lower limit": (lambda o: o.set_limit(HELD), Denial),
    "higher limit": (lambda o: o.set_limit(9 * HELD), Grant),
    "withdrawn": (lambda o: o.withdraw(), Denial),
    "own key": (lambda o: o.bring_a_key(), Grant),
    "time zone": (lambda o: o.change("tenants", o.claims.tenant_id, timezone=EAST), Grant),
    "next time zone": (
        lambda o: o.change("tenants", o.claims.tenant_id, next_timezone=EAST, next_timezone_from=LONG_AGO),
        Grant,
    ),
    "used up": (lambda o: o.use_up(), Denial),
    "fast clock": (lambda o: o.set_clock(5), Grant),
    "slow clock": (lambda o: o.set_clock(-presumed.LONGEST_WAY_S), Grant),
}


@pytest.mark.parametrize("what", CHANGES)
def test_what_has_changed_is_noticed_and_once_only(office: Office, what: str) -> None:
    change, expected = CHANGES[what]
    day = datetime.now(ZoneInfo(EAST if "zone" in what else WEST)).date().isoformat()
    change(office)
    decision = office.ask()
    assert decision is expected or (isinstance(expected, type) and isinstance(decision, expected)), decision
    assert (office.presumed, office.wrong) == ([True], [True])
    if isinstance(decision, Grant):
        assert decision.call.day == day
        assert abs(decision.call.admitted_at - now()) < timedelta(seconds=1)
        assert decision.call.admitted_at == decision.now
    office.ask()
    assert (office.presumed, office.wrong) == ([True, False], [True])


def test_what_fits_exactly_is_granted_as_step_by_step_and_more_is_not(office: Office) -> None:
    patient = Ledger(office.world.database, {}, LEASE_S)
    with office.world.database.write() as connection:
        (read,) = patient.write(connection, [ask(office.claims, office.worker_id, NEED)], guessing=False)()
        connection.rollback()
    decision = office.ask()
    assert (office.presumed, office.wrong) == ([True], [])
    assert isinstance(read, Grant)
    assert isinstance(decision, Grant)
    assert [(each.limit, each.used, each.held) for each in decision.found] == [
        (each.limit, each.used, each.held) for each in read.found
    ]
    assert len(decision.found) == 5
    assert max(each.held for each in decision.found) == 2 * HELD
    assert decision.bounded is read.bounded is True
    mine, theirs = (
        each.call._replace(call_id="", admitted_at=LONG_AGO, deadline_at=LONG_AGO) for each in (decision, read)
    )
    assert mine == theirs
    for _ in range(3):
        assert isinstance(office.ask(), Denial)
    assert (office.presumed, office.wrong) == ([True, True, False, False], [True])


def test_an_asker_is_known_for_longer_than_a_lease_lives(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calendar, "CLOCK_KEPT_S", 1e6)
    learned = office.world.ledger._presumptions._facts[office.claims, office.worker_id]
    long_ago = replace(learned, renewed_at=LONG_AGO)
    office.world.ledger._presumptions._facts[office.claims, office.worker_id] = long_ago
    assert isinstance(office.ask(), Grant)
    assert (office.presumed, office.wrong) == ([True], [])


def test_a_clock_that_was_read_long_ago_is_read_again(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    office.set_limit(9 * HELD)
    monkeypatch.setattr(calendar, "CLOCK_KEPT_S", 0.0)
    assert isinstance(office.ask(), Grant)
    assert (office.presumed, office.wrong) == ([False], [])


def test_prices_that_end_between_are_not_those_that_it_was_planned_with(office: Office) -> None:
    office.set_clock(0.1 - presumed.LONGEST_WAY_S)
    until = now() - timedelta(seconds=0.05)
    asked = ask(office.claims, office.worker_id, NEED)._replace(planned=Planned((), LONG_AGO, until))
    assert isinstance(office.world.writer.submit(asked), Outdated)
    assert (office.presumed, office.wrong) == ([True], [True])


def test_after_a_while_it_is_presumed_again(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presumed, "DOUBT_S", 0.0)
    office.set_limit(9 * HELD)
    for _ in range(3):
        assert isinstance(office.ask(), Grant)
    assert (office.presumed, office.wrong) == ([True, True, True], [True])


def test_what_no_limit_would_ever_allow_is_not_presumed(office: Office) -> None:
    too_much = ask(office.claims, office.worker_id, Need(10, 20 * HELD, 20 * HELD))
    assert isinstance(office.world.writer.submit(too_much), Denial)
    assert (office.presumed, office.wrong) == ([False], [])


def test_so_many_are_remembered_and_no_more(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presumed, "MOST_PRINCIPALS", 2)
    for name in ("bob", "cem", "dan"):
        claims = office.world.add_user(name, "acme")
        assert isinstance(office.world.writer.submit(ask(claims, office.worker_id, NEED)), Grant)
    assert len(office.world.ledger._presumptions._facts) <= 2
