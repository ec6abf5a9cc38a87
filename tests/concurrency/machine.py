"""The state machine: hypothesis plays gateways, operators, time and failures against the ledger.

After every step the database is compared with the model. `test_state_machine.py` runs it on real databases, and with
statements that were made wrong on purpose.
"""

from __future__ import annotations

from collections import deque
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from hypothesis import assume
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule
from sqlalchemy import delete, select, update

from chatapi.domain.calls import AttemptState, CallState, Charge, Grant, Settlement
from chatapi.domain.limits import Denial, DenialKind, Metric, Need
from chatapi.domain.usage import Usage, UsageSource
from chatapi.domain.windows import Window
from chatapi.errors import DatabaseUnavailable
from chatapi.storage import leases, tables
from chatapi.storage.seeding import PLACE
from tests.concurrency.game import Game, empty, held_of, read_counters, read_rollups
from tests.concurrency.model import Call, Worker, is_kept, only, places_of, utc
from tests.concurrency.world import LEASE_S, LONG_AGO, RENEW_S, ask

TRIES = 3
DEFAULTS = {(Metric.REQUESTS, Window.DAY): 4, (Metric.TOKENS, Window.DAY): 300}
STARTS = [  # each a minute before something happens
    utc("2026-11-21T14:59:00"),  # midnight in Asia/Tokyo
    utc("2026-11-30T14:59:00"),  # the month's end there
    utc("2026-03-28T22:59:00"),  # the day of 23 hours in Europe/Berlin
    utc("2026-10-24T21:59:00"),  # the day of 25 hours there
    utc("2026-10-31T22:59:00"),  # the month's end there
    utc("2026-12-31T22:59:00"),  # the year's end there
]
FAULTS = st.lists(st.sampled_from(["refused", "lost", "done", ""]), max_size=4)
LIMIT_VALUES = st.one_of(st.none(), st.integers(0, 6), st.integers(30, 400))
INDEX = st.integers(0, 63)
MODELS = ["tiny", "large"]


class LedgerMachine(Game):
    """Users of two tenants in two time zones call through several workers, on one database that is emptied before."""

    @initialize(start=st.sampled_from(STARTS), limits=st.lists(st.tuples(INDEX, INDEX, LIMIT_VALUES), max_size=3))
    def begin(self, start: datetime, limits: list[tuple[int, int, int | None]]) -> None:
        """Empty the ledger; some limits were set long ago."""
        empty(self.world)
        while self.world.writer.repay():
            pass
        empty(self.world)
        self.clock.now = self.model.now = start
        zones = {"tokyo": "Asia/Tokyo", "berlin": "Europe/Berlin"}
        self.model.zones = {self.world.tenants[name]: [(LONG_AGO, zone)] for name, zone in zones.items()}
        for whose, which, value in limits:
            self._set_limit(whose, which, value, LONG_AGO)
        for _ in range(2):
            self.start_worker()

    # Gateways
    @rule(who=INDEX, where=INDEX, prompt=st.integers(0, 80), wanted=st.integers(1, 120), faults=FAULTS)
    def admit(self, who: int, where: int, prompt: int, wanted: int, faults: list[str]) -> None:
        """A call asks to be admitted, while the database may fail."""
        self._admit(who, where, prompt, wanted, faults)

    def _admit(self, who: int, where: int, prompt: int, wanted: int, faults: list[str]) -> None:
        claims, worker_id = self._pick(self.people, who), self._pick(self.workers, where)
        need, model = Need(prompt, wanted, min(wanted, 16)), self._pick(MODELS, prompt)
        admission = ask(claims, worker_id, need, model=model)
        expected = self.model.expected(claims, worker_id, need, model)
        self.database.faults = deque(faults)
        try:
            decision = self.world.writer.submit(admission)
        except DatabaseUnavailable:
            self._admission_failed(admission, faults, expected)
            return
        finally:
            self.database.faults = deque()
        if isinstance(decision, Grant):
            assert decision.call.completion_granted == expected
            self.model.admit(self._new_call(admission, decision.call.completion_granted, "held", decision.call))
        elif isinstance(decision, Denial):
            assert ("held" if decision.kind is DenialKind.HELD else "used_up") == expected
            assert 1 <= decision.retry_after_s <= 31 * 86400 + 3600
        else:
            assert decision == expected

    @rule(who=INDEX, where=INDEX, count=st.integers(2, 6), wanted=st.integers(1, 120))
    def admit_several(self, who: int, where: int, count: int, wanted: int) -> None:
        """A user sends a burst of calls, which are in flight together; so quotas come to their ends."""
        self.renew(where)
        for number in range(count):
            self._admit(who, where, 10 * number, wanted, [])

    @precondition(lambda self: self._known())
    @rule(which=INDEX, answered=st.booleans(), used=st.tuples(st.integers(0, 90), st.integers(0, 150)), faults=FAULTS)
    def settle(self, which: int, answered: bool, used: tuple[int, int], faults: list[str]) -> None:
        """The truth about a call comes: in time, late, again, above its hold, or for a row that was lost."""
        call, (prompt, completion) = self._pick(self._known(), which), used
        charge = Charge(answered, Usage(prompt, 0, completion, 0, UsageSource.UPSTREAM))
        attempt = AttemptState.ANSWERED if answered else AttemptState.UNKNOWN
        self._end(call, Settlement(held_of(call), CallState.SETTLED, charge, "completed", attempt), faults)

    def _ended(self, which: int, answered: bool) -> tuple[Call, Settlement]:
        """A call and its end: answered, or one that the upstream never ran."""
        call = self._pick(self._known(), which)
        if not answered:
            return call, Settlement(held_of(call), CallState.RELEASED, Charge(), "refused", AttemptState.REFUSED)
        charge = Charge(answered, Usage(which, 0, 2 * which, 0, UsageSource.UPSTREAM))
        return call, Settlement(held_of(call), CallState.SETTLED, charge, "completed", AttemptState.ANSWERED)

    @precondition(lambda self: self._known())
    @rule(which=INDEX, faults=FAULTS)
    def release(self, which: int, faults: list[str]) -> None:
        """The upstream never ran the call."""
        call = self._pick(self._known(), which)
        self._end(
            call, Settlement(held_of(call), CallState.RELEASED, Charge(), "refused", AttemptState.REFUSED), faults
        )

    @rule(
        asked=st.lists(st.tuples(INDEX, INDEX, st.integers(0, 80), st.integers(1, 120)), min_size=1, max_size=4),
        ended=st.lists(st.tuples(INDEX, st.booleans()), max_size=4),
        doubted=st.lists(INDEX, max_size=2),
        faults=FAULTS,
    )
    def submit_a_batch(
        self,
        asked: list[tuple[int, int, int, int]],
        ended: list[tuple[int, bool]],
        doubted: list[int],
        faults: list[str],
    ) -> None:
        """Calls end, admissions that were in doubt are ended, others ask: all at once, while the database may fail."""
        admissions = [
            ask(self._pick(self.people, who), self._pick(self.workers, where), Need(prompt, wanted, 1))
            for who, where, prompt, wanted in asked
        ]
        settlements = [self._ended(which, answered) for which, answered in ended] if self._known() else []
        in_doubt = [ask(self._pick(self.people, who), self._pick(self.workers, who)) for who in doubted]
        self.submit_batch(settlements, in_doubt, admissions, faults)

    @rule()
    def database_is_back(self) -> None:
        """What the database did not take is written now."""
        self.repay()

    @rule(where=INDEX)
    def renew(self, where: int) -> None:
        """A worker renews its lease, however late."""
        worker_id = self._pick(self.workers, where)
        leases.renew(self.database, worker_id)
        self.model.workers[worker_id] = Worker(worker_id, self.model.now)

    @rule()
    def start_worker(self) -> None:
        """A worker joins."""
        self.workers.append(self.world.worker())
        self.model.workers[self.workers[-1]] = Worker(self.workers[-1], self.model.now)

    @precondition(lambda self: len(self.workers) > 1)
    @rule(where=INDEX)
    def crash(self, where: int) -> None:
        """A worker dies: it never renews again, and what it knew of its calls is forgotten."""
        self.workers.remove(self._pick(self.workers, where))

    @rule(where=INDEX)
    def crash_and_be_swept(self, where: int) -> None:
        """A worker dies, its lease runs out, and another one sweeps up."""
        worker_id = self._pick(self.workers, where)
        self.start_worker()
        self.workers.remove(worker_id)
        self._move_to(self.model.now + timedelta(seconds=LEASE_S))
        self.sweep()

    # Time and sweeps
    @rule(seconds=st.sampled_from([1, 14, 15, 16, 61, 901, 3600, 86400]))
    def wait(self, seconds: int) -> None:
        """Time passes."""
        self._move_to(self.model.now + timedelta(seconds=seconds))

    @rule(whose=INDEX, early_s=st.sampled_from([1, 0]), month=st.booleans())
    def wait_for_midnight(self, whose: int, early_s: int, month: bool) -> None:
        """Time passes until a tenant's midnight, or a month's, or a second before."""
        tenant_id = self._pick(list(self.model.zones), whose)
        today, zone = date.fromisoformat(self.model.day(tenant_id)), self.model.zone(tenant_id)
        following = (today.replace(day=1) + timedelta(days=31)).replace(day=1) if month else today + timedelta(days=1)
        midnight = datetime(following.year, following.month, following.day, tzinfo=zone)
        assume(midnight.timestamp() - early_s > self.model.now.timestamp())
        self._move_to(datetime.fromtimestamp(midnight.timestamp() - early_s, ZoneInfo("UTC")))

    @rule()
    def sweep(self) -> None:
        """A sweep expires the calls of dead workers and those past their deadline."""
        doomed = self.model.doomed()
        assert leases.sweep(self.database, self.world.ledger) == len(doomed)
        for call in doomed:
            self.model.expire(call.id)
        if not doomed:
            return
        holding = {call.worker for call in self.model.calls.values() if call.state == "held"}
        for worker in list(self.model.workers.values()):
            if worker.id not in holding and worker.renewed_at < self.model.now - leases.FORGET_AFTER:
                del self.model.workers[worker.id]

    @precondition(lambda self: self._known())
    @rule(which=st.lists(INDEX, min_size=1, max_size=3))
    def expire_strays(self, which: list[int]) -> None:
        """Calls, ended or not, are taken for strays."""
        strays = {call.id: call for call in (self._pick(self._known(), index) for index in which)}
        leases.expire_strays(self.database, self.world.ledger, [held_of(call) for call in strays.values()])
        for call_id in strays:
            if self.model.calls[call_id].state != "lost":
                self.model.expire(call_id)

    @precondition(lambda self: any(call.state == "held" for call in self._known()))
    @rule(which=INDEX)
    def lose(self, which: int) -> None:
        """A fail-over forgets an admission that had committed: its call, its attempt and its hold in every counter."""
        call = self._pick([call for call in self._known() if call.state == "held"], which)
        with self.database.write() as connection:
            for table, column in ((tables.attempts, tables.attempts.c.call_id), (tables.calls, tables.calls.c.id)):
                connection.execute(delete(table).where(column == call.id))
            for place in places_of(call):
                here = dict(zip(PLACE, place, strict=True))
                columns = tables.counters.c
                less = {"requests_held": columns.requests_held - 1, "tokens_held": columns.tokens_held - call.hold}
                connection.execute(update(tables.counters).filter_by(**here).values(less))
        self.model.lose(call.id)

    # Operators
    @rule(whose=INDEX, which=INDEX, value=LIMIT_VALUES)
    def set_limit(self, whose: int, which: int, value: int | None) -> None:
        """A limit is set, or lifted."""
        self._set_limit(whose, which, value, self.model.now)

    @precondition(lambda self: any(call.state == "held" for call in self._known()))
    @rule(call=INDEX, which=INDEX, value=LIMIT_VALUES)
    def set_limit_amid_calls(self, call: int, which: int, value: int | None) -> None:
        """A limit is set for somebody whose calls are in flight."""
        held = [known for known in self._known() if known.state == "held"]
        self._set_limit(self.people.index(self._pick(held, call).claims), which, value, self.model.now)

    @rule(whose=INDEX, which=INDEX, value=st.sampled_from([0, 1, 2, 5, 60]))
    def grant_or_withdraw(self, whose: int, which: int, value: int) -> None:
        """More of a limit is granted, until its day or month ends; or, with 0, a grant is withdrawn."""
        self._grant_or_withdraw(whose, which, value)

    @rule(whose=INDEX, kind=st.sampled_from(["users", "access_tokens", "tenants"]))
    def admit_or_bar(self, whose: int, kind: str) -> None:
        """A user or a tenant is disabled, an access token revoked; or served again."""
        claims = self._pick(self.people, whose)
        target = {"users": claims.user_id, "access_tokens": claims.jti, "tenants": claims.tenant_id}[kind]
        barred = target not in self.model.refused
        (self.model.refused.add if barred else self.model.refused.remove)(target)
        if kind == "access_tokens":
            self.world.change(kind, target, revoked_at=self.model.now if barred else None)
        else:
            self.world.change(kind, target, status="disabled" if barred else "active")

    @rule(whose=INDEX, name=st.sampled_from(["America/New_York", "Asia/Tokyo", "Pacific/Kiritimati"]))
    def change_zone(self, whose: int, name: str) -> None:
        """A tenant's time zone changes when its month has ended in both."""
        tenant_id = self._pick(list(self.model.zones), whose)
        zone, today = self.model.zone(tenant_id), date.fromisoformat(self.model.day(tenant_id))
        following = (today.replace(day=1) + timedelta(days=31)).replace(day=1)
        ends = [datetime(*following.timetuple()[:3], tzinfo=each) for each in (zone, ZoneInfo(name))]
        begins = max(end.astimezone(ZoneInfo("UTC")) for end in ends)
        self.world.change("tenants", tenant_id, timezone=str(zone), next_timezone=name, next_timezone_from=begins)
        self.model.zones[tenant_id] = [(LONG_AGO, str(zone)), (begins, name)]

    # After every step
    @invariant()
    def everything_is_as_the_model_says(self) -> None:
        """Counters, states and roll-ups."""
        with self.database.read() as connection:
            counters, rollups = read_counters(connection), read_rollups(connection)
            states = {row.id: row.state for row in connection.execute(select(tables.calls.c.id, tables.calls.c.state))}
        expected = self.model.counters()
        for is_meant in (is_kept, lambda place: not is_kept(place) and self.model.names(place)):
            assert only(is_meant, counters) == only(is_meant, expected)
        assert rollups == self.model.rollups()
        assert states == self.model.states()

    @invariant()
    def the_audit_finds_nothing_else(self) -> None:
        """I1 to I7 hold; of I6 the audit finds exactly what waits for a sweep for too long."""
        now, sweep_s = self.model.now, LEASE_S + 2 * RENEW_S
        late = []
        for call in self.model.calls.values():
            worker = self.model.workers.get(call.worker)
            dead = worker is not None and now >= worker.renewed_at + timedelta(seconds=LEASE_S + sweep_s)
            if call.state == "held" and (dead or now >= call.deadline_at + timedelta(seconds=sweep_s)):
                late.append(call.id)
        found = self.world.audit()
        assert [finding for finding in found if finding.invariant != "I6"] == []
        assert sum(finding.count for finding in found) == len(late)
