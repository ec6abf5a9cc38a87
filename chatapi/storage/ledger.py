"""The ledger's transaction: any number of admissions, settlements and abandonments, written together.

Everything here runs inside its caller's transaction and commits nothing. Rows are locked in one order: calls, then
counters, then roll-ups; within each by their keys (docs/metering.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection
from uuid_utils import uuid7

from chatapi.domain.calls import Abandonment, Admission, Decision, HeldCall, Item, Settlement
from chatapi.domain.counters import counter_key
from chatapi.domain.effective_limits import Defaults
from chatapi.domain.limits import Standing
from chatapi.domain.principals import Claims
from chatapi.storage import calls, counters, ending, principals, rollups
from chatapi.storage.asking import Asking, standings_of
from chatapi.storage.counters import Sums
from chatapi.storage.ending import Ended
from chatapi.storage.engine import Database
from chatapi.storage.principals import RuleBook


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

    def write(self, connection: Connection, items: Sequence[Item]) -> list[Decision | bool]:
        """Write a batch: what gives back comes first, then the admissions in their order.

        Returns:
            Of each admission the decision; of a settlement or abandonment whether it was news, and no replay. A batch
            that changes nothing, because all of it is denied or known, is rolled back.

        Raises:
            SQLAlchemyError, TypeError, ValueError: an item is wrong in itself. Nobody can say which: split the batch.
        """
        admissions = [item for item in items if isinstance(item, Admission)]
        doubtful = [item for item in items if isinstance(item, Abandonment)]
        tenants = (item.claims.tenant_id for item in [*admissions, *(item.admission for item in doubtful)])
        now, moments = principals.moments(self.database, connection, tenants)
        there = ending.abandon(connection, doubtful, moments)
        settlements = [item for item in items if isinstance(item, Settlement)]
        ended = ending.end(connection, [*settlements, *there], now)
        asking = Asking(admissions, moments, self.lease_s)
        decisions = self._count(connection, ended, asking, now)
        if not (asking.held or ended.ends or doubtful):
            connection.rollback()
        news, decided = iter(ended.news), iter(decisions)
        return [
            next(decided) if isinstance(item, Admission) else isinstance(item, Abandonment) or next(news)
            for item in items
        ]

    def expire(self, connection: Connection, doomed: Sequence[HeldCall]) -> int:
        """Expire calls that are held: charge tokens and cost at the hold, count no request. Returns how many were."""
        now = self.database.now(connection)
        ended = ending.expire(connection, doomed, now)
        self._count(connection, ended, Asking([], {}, self.lease_s), now)
        return len(ended.ends)

    def standings(self, connection: Connection, claims: Claims) -> list[Standing] | None:
        """How every limit of a principal stands now, read without locks; None when its access token is not in force."""
        _, moments = principals.moments(self.database, connection, [claims.tenant_id])
        moment = moments.get(claims.tenant_id)
        if moment is None:
            return None
        asker = (claims, claims.jti)  # no worker asks
        fact = principals.facts(connection, self._book, [asker], moment.now)[asker]
        if not fact.in_force:
            return None
        place = (claims, moment.day, moment.now)
        limits = [limit for limit in fact.rules.limits if not limit.model]
        measured = [(limit, counter_key(limit.scope, limit.window, limit.model, *place)) for limit in limits]
        found = counters.read(connection, {key for _, key in measured})
        return standings_of(measured, found, moment)

    def _count(self, connection: Connection, ended: Ended, asking: Asking, now: datetime) -> list[Decision]:
        """Move the counters and roll-ups, decide, and write the calls that were admitted."""
        askers = ended.askers | asking.askers
        if not askers:
            return []
        kept = Sums()
        ended.count_kept(kept)
        asking.hold_kept(kept)
        found = counters.add(connection, kept)
        facts = principals.facts(connection, self._book, askers, now)
        given_back, named = Sums(), Sums()
        ended.count_named(given_back, facts)
        counters.change(connection, given_back)
        asking.hold_named(named, facts)
        found |= counters.add(connection, named)
        decisions = asking.decide(found)
        less = Sums()
        asking.take_back(less)
        counters.change(connection, less)
        calls.insert_held(connection, asking.held)
        rollups.add(connection, ended.charges())
        return decisions


def new_id() -> str:
    """A time-ordered id (UUID version 7, RFC 9562)."""
    return str(uuid7())
