"""The ledger's transaction: any number of admissions, settlements and abandonments, written together.

Everything here runs inside its caller's transaction and commits nothing. Rows are locked in one order: calls, then
counters, idempotency keys, the counters that limits name, then roll-ups; within each by their keys (docs/metering.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import repeat
from typing import Any

from sqlalchemy import Connection
from uuid_utils import uuid7

from chatapi.domain.calls import Abandonment, Admission, Decision, HeldCall, Item, Settlement
from chatapi.domain.counters import counter_key
from chatapi.domain.effective_limits import Defaults
from chatapi.domain.limits import Standing
from chatapi.domain.principals import Claims
from chatapi.domain.windows import Moment
from chatapi.storage import calls, counters, ending, principals, rollups
from chatapi.storage.asking import Asking, standings_of
from chatapi.storage.calendar import Calendar, Clocked
from chatapi.storage.counters import Sums
from chatapi.storage.ending import Ended
from chatapi.storage.engine import Database
from chatapi.storage.given import stamp
from chatapi.storage.guessing import GuessedWrong
from chatapi.storage.presumed import Presumptions
from chatapi.storage.principals import NO_LIMITS, RuleBook

Outcomes = Callable[[], list[Decision | bool]]


class Ledger:
    """The statements, with what they need to know of the installation.

    Args:
        database: for its clock.
        defaults: the limits of every user that has none of its own.
        lease_s: how long a worker's lease lives.
    """

    def __init__(self, database: Database, defaults: Defaults, lease_s: float) -> None:
        self.database = database
        self.defaults = defaults
        self.lease_s = lease_s
        self._book = RuleBook(defaults)
        self._calendar = Calendar(database)
        self._presumptions = Presumptions(database, self._calendar, lease_s)

    def write(self, connection: Connection, items: Sequence[Item], *, guessing: bool = True) -> Outcomes:
        """Write a batch: what gives back comes first, then the admissions in their order.

        Args:
            connection: in a transaction.
            items: the batch.
            guessing: whether it may be guessed what is likely to be found.

        Returns:
            What says, when it is committed, of each admission the decision; of a settlement or abandonment whether it
            was news, and no replay. A batch that changes nothing, because all of it is denied or known, is rolled back.

        Raises:
            GuessedWrong: now, or by the commit.
            SQLAlchemyError, TypeError, ValueError: an item is wrong in itself. Nobody can say which: split the batch.
        """
        kinds: dict[type, list[Any]] = {Admission: [], Settlement: [], Abandonment: []}
        for item in items:
            kinds[type(item)].append(item)
        admissions, settlements, doubtful = kinds.values()
        tenants = {item.claims.tenant_id for item in admissions}
        tenants.update(item.call.claims.tenant_id for item in settlements)
        tenants.update(item.admission.claims.tenant_id for item in doubtful)
        if len(items) == len(admissions) == 1:
            presumed = self._presume(connection, admissions[0], guessing=guessing)
            if presumed is not None:
                return lambda: [presumed()]
        guessed = self._calendar.guess(connection, tenants) if guessing and not doubtful else None
        if guessed is None:
            ended, decisions = self._write(connection, admissions, settlements, doubtful, tenants)
        else:
            ended, decisions = self._write_guessing(connection, admissions, settlements, guessed)
        outcomes: dict[type, Iterator[Any]] = {
            Admission: iter(decisions),
            Settlement: iter(ended.news),
            Abandonment: repeat(True),
        }
        found = [next(outcomes[type(item)]) for item in items]
        return lambda: found

    def _presume(
        self, connection: Connection, admission: Admission, *, guessing: bool
    ) -> Callable[[], Decision] | None:
        if guessing:
            return self._presumptions.admit(connection, admission)
        self._presumptions.doubt(admission)
        return None

    def _write(
        self,
        connection: Connection,
        admissions: Sequence[Admission],
        settlements: Sequence[Settlement],
        doubtful: Sequence[Abandonment],
        tenants: set[str],
    ) -> tuple[Ended, list[Decision]]:
        """Write a batch step by step."""
        now, moments = self._calendar.ask(connection, tenants)
        there = ending.abandon(connection, doubtful, moments)
        ended = ending.end(connection, [*settlements, *there], stamp(connection, now))
        asking = Asking(admissions, moments, self.lease_s)
        decisions = self._count(connection, ended, asking, lambda _: now)
        if asking.held or ended.ends or doubtful:
            _keep(connection, ended, asking)
        else:
            connection.rollback()
        return ended, decisions

    def _write_guessing(
        self,
        connection: Connection,
        admissions: Sequence[Admission],
        settlements: Sequence[Settlement],
        guessed: Mapping[str, Moment],
    ) -> tuple[Ended, list[Decision]]:
        """Write a batch with a guess of what time it is at its tenants: in two round trips to PostgreSQL; settlements
        alone in one.

        Raises:
            GuessedWrong: it is another day, a call that is to end is not held, or a limit has been set.
        """
        ended = ending.expect(connection, settlements, self.database.began(connection) if settlements else "")
        texts = None if admissions else self._book.guess(end.call.claims for end in ended.ends)
        if texts is not None:
            self._count_ends(connection, ended, texts)
            return ended, []
        asking = Asking(admissions, guessed, self.lease_s)

        def now(clocked: Clocked) -> datetime:
            instant, moments = self._calendar.read(connection, clocked)
            if any(tenant not in moments or moments[tenant].day != guessed[tenant].day for tenant in guessed):
                raise GuessedWrong
            asking.be_at(moments)
            return instant

        decisions = self._count(connection, ended, asking, now)
        if asking.held or ended.ends:
            _keep(connection, ended, asking)
        else:
            connection.rollback()
        return ended, decisions

    def expire(self, connection: Connection, doomed: Sequence[HeldCall]) -> int:
        """Expire calls that are held: charge tokens and cost at the hold, count no request. Returns how many were."""
        now = self.database.now(connection)
        ended = ending.expire(connection, doomed, now)
        nobody = Asking([], {}, self.lease_s)
        self._count(connection, ended, nobody, lambda _: now)
        _keep(connection, ended, nobody)
        return len(ended.ends)

    def standings(self, connection: Connection, claims: Claims) -> list[Standing] | None:
        """How every limit of a principal stands now, read without locks; None when its access token is not in force."""
        _, moments = self._calendar.ask(connection, [claims.tenant_id])
        moment = moments.get(claims.tenant_id)
        if moment is None:
            return None
        asker = (claims, claims.jti)  # no worker asks
        days = {claims.tenant_id: moment.day}
        fact = principals.facts(connection, self._book, [asker], days, lambda _: moment.now)[asker]
        if not fact.in_force:
            return None
        place = (claims, moment.day, moment.now)
        limits = [limit for limit in fact.rules.limits if not limit.model]
        measured = [(limit, counter_key(limit.scope, limit.window, limit.model, *place)) for limit in limits]
        found = counters.read(connection, {key for _, key in measured})
        return standings_of(measured, found, moment)

    def _count_ends(self, connection: Connection, ended: Ended, texts: Mapping[Claims, str]) -> None:
        """Move the counters and roll-ups of calls that end, on the guess that these limits are set."""
        kept, named = Sums(), Sums()
        ended.count_kept(kept)
        counters.add_unread(connection, kept)
        principals.expect(connection, texts)
        ended.count_named(named, {claims: self._book.read(text, NO_LIMITS) for claims, text in texts.items()})
        counters.change(connection, named)
        rollups.add(connection, ended.charges())

    def _count(
        self, connection: Connection, ended: Ended, asking: Asking, now: Callable[[Clocked], datetime]
    ) -> list[Decision]:
        """Move the counters, as if all that is asked were granted, and decide.

        The instant is wanted when the counters are locked.
        """
        askers = ended.askers | asking.askers
        if not askers:
            return []
        kept = Sums()
        ended.count_kept(kept)
        asking.hold_kept(kept)
        locked = counters.add(connection, kept)
        asking.keys.take(connection)
        days = {tenant_id: moment.day for tenant_id, moment in asking.moments.items()}
        facts = principals.facts(connection, self._book, askers, days, now)
        self._book.remember(facts)
        made, given_back, named = Sums(), Sums(), Sums()
        rules = {claims: fact.rules for (claims, _), fact in facts.items()}
        ended.make_named(made, rules, asking.moments)
        counters.add_unread(connection, made)
        ended.count_named(given_back, rules)
        counters.change(connection, given_back)
        asking.hold_named(named, facts)
        added = counters.add(connection, named)
        wanted = asking.wanted
        decisions = asking.decide(locked(wanted) | added(wanted)) if asking.askers else []
        if not self.database.is_sqlite:
            self._presumptions.learn(asking.admissions, decisions, facts)
        return decisions


def _keep(connection: Connection, ended: Ended, asking: Asking) -> None:
    """Take back what was not granted, and write the calls that were admitted and the roll-ups of those that ended."""
    less = Sums()
    asking.take_back(less)
    counters.change(connection, less)
    calls.insert_held(connection, asking.held)
    asking.keys.write(connection)
    rollups.add(connection, ended.charges())


def new_id() -> str:
    """A time-ordered id (UUID version 7, RFC 9562)."""
    return str(uuid7())
