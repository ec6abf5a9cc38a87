"""A lone admission on PostgreSQL, presumed to be granted: one round trip, and right or not written at all.

What held for its principal when it was granted a call last is presumed to hold still, the clock to be what this machine
says, and the limits to leave room. By that it is decided, and written. The server has locked the counters when it
compares all of that with what is: where anything differs, nothing is committed (`GuessedWrong`), and the call is
decided by what is read.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    Connection,
    Executable,
    FromClause,
    Interval,
    Text,
    and_,
    func,
    literal_column,
    or_,
    select,
)

from chatapi.domain.calls import Admission, Decision, Grant, Planned
from chatapi.domain.counters import CounterKey
from chatapi.domain.limits import Metric
from chatapi.domain.windows import Moment, Window, Zone, window_end
from chatapi.storage import calls, counters
from chatapi.storage.asking import Asking
from chatapi.storage.calendar import Calendar
from chatapi.storage.columns import ID, Row, UtcDateTime
from chatapi.storage.counters import KEY, Sums
from chatapi.storage.engine import Database
from chatapi.storage.given import Kind, Statement, Types, stamp
from chatapi.storage.guessing import expected
from chatapi.storage.principals import MOST_PRINCIPALS, Asker, Facts, of_askers, steady
from chatapi.storage.tables import access_tokens, tenants, users, workers
from chatapi.storage.tables import counters as counter_rows

LONGEST_WAY_S = 1.0
"""How far `admitted_at` may be behind the database's clock. It is never ahead: a limit that is set just then would
count the call in a minute that it does not enter."""
DOUBT_S = 1.0
"""How long nothing is presumed of whom it was wrong of: whatever makes it wrong, it does so no more often."""


class Presumptions:
    """What held for each asker when it was granted all that it asked for, and admissions that are made of that.

    Args:
        database: where.
        calendar: guesses what time it is.
        lease_s: how long a worker's lease lives.
    """

    def __init__(self, database: Database, calendar: Calendar, lease_s: float) -> None:
        self._database = database
        self._calendar = calendar
        self._lease_s = lease_s
        self._facts: dict[Asker, Facts] = {}
        self._doubted: dict[Asker, float] = {}  # and when, by the monotonic clock

    def learn(
        self, admissions: Iterable[Admission], decisions: Iterable[Decision], facts: Mapping[Asker, Facts]
    ) -> None:
        """Take note of what was decided by these facts. Of who is near a limit nothing is presumed."""
        sure_before = time.monotonic() - DOUBT_S
        for admission, decision in zip(admissions, decisions, strict=True):
            asker = (admission.claims, admission.worker_id)
            if not isinstance(decision, Grant) or _is_shortened(decision, admission):
                self._facts.pop(asker, None)
            elif self._doubted.get(asker, sure_before) <= sure_before:
                _put(self._facts, asker, facts[asker])

    def doubt(self, admission: Admission) -> None:
        """Of who asks here something was presumed that is not so."""
        asker = (admission.claims, admission.worker_id)
        if self._facts.pop(asker, None) is not None:
            _put(self._doubted, asker, time.monotonic())

    def admit(self, connection: Connection, admission: Admission) -> Callable[[], Decision] | None:
        """Write a call as admitted, if that can be presumed.

        Returns:
            What says the decision once it is committed; None where nothing is presumed, and nothing was written.

        Raises:
            GuessedWrong: by the commit.
        """
        tenant_id, asker = admission.claims.tenant_id, (admission.claims, admission.worker_id)
        facts = self._facts.get(asker)
        if facts is None or admission.key is not None:
            return None
        known = self._calendar.presume(connection, tenant_id)
        if known is None:
            return None
        moment, zone = known
        facts = replace(facts, renewed_at=moment.now)  # whether the lease is alive, the server looks
        asking, kept, named = Asking([admission], {tenant_id: moment}, self._lease_s), Sums(), Sums()
        asking.hold_kept(kept)
        asking.hold_named(named, {asker: facts})
        (decision,) = asking.decide(kept | named)  # as if nobody else had used anything
        if not isinstance(decision, Grant) or not asking.is_granted_whole:
            return None
        locked = counters.add(connection, kept)
        added = counters.add(connection, named)
        self._expect(connection, admission, facts, moment, zone)
        _expect_room(connection, most := asking.most)
        calls.insert_held(connection, asking.held)
        return lambda: decision._replace(found=asking.stood(locked(most) | added(most)))

    def _expect(self, connection: Connection, admission: Admission, facts: Facts, moment: Moment, zone: Zone) -> None:
        """Expect that these facts hold, and that it is a moment that is like this one."""
        opens, closes = _within(moment, zone, facts, admission.planned)
        row: Row = {
            **admission.claims._asdict(),
            "worker_id": admission.worker_id,
            "day": moment.day,
            "lease": f"{self._lease_s} seconds",
            "clock": self._database.stand_in(connection),
            "opens": stamp(connection, opens),
            "closes": stamp(connection, closes),
            "timezone": zone.name,
            "next_timezone": zone.next_name,
            "next_timezone_from": zone.next_from and stamp(connection, zone.next_from),
            **dict(zip(_STEADY, facts.texts, strict=True)),
        }
        _EXPECT.run(connection, [row])


def _is_shortened(grant: Grant, admission: Admission) -> bool:
    """Whether less completion was granted than was asked for."""
    return grant.call.completion_granted < admission.need.completion_wanted


def _put(among: dict[Asker, Any], asker: Asker, value: object) -> None:
    if asker not in among and len(among) >= MOST_PRINCIPALS:
        among.clear()
    among[asker] = value


def _within(moment: Moment, zone: Zone, facts: Facts, planned: Planned | None) -> tuple[datetime, datetime]:
    """From which instant on, and before which one, it is the same day, the same minute if one is counted, and prices
    are those that it was planned with."""
    windows = {Window.DAY} | {named.window for named in facts.rules.named if named.window is Window.MINUTE}
    ends = [moment.now + timedelta(seconds=LONGEST_WAY_S), *(window_end(window, moment) for window in windows)]
    if zone.next_from is not None and moment.now < zone.next_from:
        ends.append(zone.next_from)
    if planned is not None:
        ends.append(planned.until)
    return moment.now, min(ends)


def _expect_room(connection: Connection, most: Mapping[CounterKey, Mapping[Metric, int]]) -> None:
    """Expect that no counter says more than its limits allow. All of them are locked, and contain what is asked."""
    rows = [key._asdict() | {f"{metric}_most": lowest.get(metric) for metric in Metric} for key, lowest in most.items()]
    _EXPECT_ROOM.run(connection, rows)


def _expect(kind: Kind, given: FromClause) -> list[Executable]:
    clock = func.coalesce(given.c.clock, kind.clock())
    active = literal_column("'active'", Text)
    zone = (tenants.c.timezone, tenants.c.next_timezone, tenants.c.next_timezone_from)
    same = [*((column, column.name) for column in zone), *zip(steady(kind, given), _STEADY, strict=True)]
    here = and_(
        access_tokens.c.user_id == given.c.user_id,
        access_tokens.c.expires_at > clock,
        access_tokens.c.revoked_at.is_(None),
        users.c.status == active,
        tenants.c.status == active,
        workers.c.renewed_at > clock - given.c.lease,
        clock >= given.c.opens,
        clock < given.c.closes,
        *(found.is_not_distinct_from(given.c[name]) for found, name in same),
    )
    return [select(expected(here)).select_from(of_askers(given))]


def _room(_kind: Kind, given: FromClause) -> list[Executable]:
    its = and_(*(counter_rows.c[name] == given.c[name] for name in KEY))
    fits = [
        or_(
            given.c[f"{metric}_most"].is_(None),
            counter_rows.c[f"{metric}_used"] + counter_rows.c[f"{metric}_held"] <= given.c[f"{metric}_most"],
        )
        for metric in Metric
    ]
    fitting = select(func.count()).select_from(given.join(counter_rows, its)).where(*fits).scalar_subquery()
    return [select(expected(fitting == select(func.count()).select_from(given).scalar_subquery()))]


_STEADY = ("user_models", "tenant_models", "token_models", "near_limit", "limits", "grants", "keys")  # as `steady`
_EXPECT = Statement(
    {
        **dict.fromkeys(("tenant_id", "user_id", "jti", "worker_id"), ID),
        "day": Text(),
        "lease": Interval(),
        **dict.fromkeys(("clock", "opens", "closes", "next_timezone_from"), UtcDateTime()),
        **dict.fromkeys(("timezone", "next_timezone", *_STEADY), Text()),
    },
    _expect,
)
_ROOM: Types = {**KEY, **{f"{metric}_most": BigInteger() for metric in Metric}}
_EXPECT_ROOM = Statement(_ROOM, _room)
