"""How calls end: settled, released or expired, many at a time. Call rows are locked, and left by compare-and-set."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection

from chatapi.domain.calls import NO_CHARGE, Abandonment, AttemptState, CallState, Charge, HeldCall, Settlement
from chatapi.domain.counters import ABANDONED, Counter, Left, change_of, kept_counters, named_counters
from chatapi.domain.limits import NOTHING
from chatapi.domain.principals import Claims
from chatapi.domain.windows import Moment, Window
from chatapi.storage import calls
from chatapi.storage.calls import Place, place_of
from chatapi.storage.columns import Row
from chatapi.storage.counters import Sums
from chatapi.storage.given import stamp
from chatapi.storage.principals import Asker, Rules
from chatapi.storage.retention import calls_since

EXPIRED = "expired"


class End(NamedTuple):
    """A call that left its state: what it had in its counters, what it is charged now, and whether its row was lost."""

    call: HeldCall
    left: Left
    charge: Charge
    ended: str
    was_lost: bool = False


@dataclass(slots=True)
class Ended:
    """A number of ends: of each item whether it was news, and the calls that left their states."""

    news: list[bool] = field(default_factory=list)
    ends: list[End] = field(default_factory=list)

    @property
    def askers(self) -> set[Asker]:
        """Whose calls ended."""
        return {(end.call.claims, end.call.worker_id) for end in self.ends}

    def count_kept(self, sums: Sums) -> None:
        """Add to `sums` how the counters change that are always kept."""
        changes = defaultdict[tuple[Claims, str], list[Counter]](list)
        for call, left, charge, ended, _ in self.ends:
            changes[call.claims, call.day].append(change_of(Window.DAY, left, charge, ended))
        for (claims, day), each in changes.items():
            sums.add(kept_counters(claims, day), Counter.total(each))

    def count_named(self, sums: Sums, rules: Mapping[Claims, Rules]) -> None:
        """The same for the counters that only limits name. The rules were read after the others had been locked."""
        for call, left, charge, ended, _ in self.ends:
            named = rules[call.claims].named
            if named:
                for key in named_counters(named, call.model, call.claims, call.day, call.admitted_at):
                    sums.add([key], change_of(key.window, left, charge, ended))

    def make_named(self, sums: Sums, rules: Mapping[Claims, Rules], moments: Mapping[str, Moment]) -> None:
        """Add nothing to those that calls enter whose rows were lost: who set the limit has not seen these calls, and
        may have made no counters. What is over is no longer counted."""
        for call in [end.call for end in self.ends if end.was_lost]:
            named, moment = rules[call.claims].named, moments.get(call.claims.tenant_id)
            if moment is not None:
                entered = named_counters(named, call.model, call.claims, call.day, call.admitted_at)
                of_now = named_counters(named, call.model, call.claims, moment.day, moment.now)
                pairs = zip(entered, of_now, strict=True)
                sums.add([key for key, now in pairs if key.window_key >= now.window_key], Counter())

    def charges(self) -> list[tuple[HeldCall, Charge, Charge]]:
        """What each call is charged now, and was charged before: for the roll-ups."""
        return [(end.call, end.charge, end.left.charge) for end in self.ends if end.charge != end.left.charge]


def left_by(call: HeldCall, state: CallState) -> Left | None:
    """What the call leaves behind in this state; None when it has ended for good."""
    if state is CallState.HELD:
        return Left(call.hold, NO_CHARGE)
    return Left(NOTHING, Charge.at_hold(call), expired=True) if state is CallState.EXPIRED else None


def end(connection: Connection, settlements: Sequence[Settlement], now: str) -> Ended:
    """Write the truth about calls. What is known already (a replay) changes nothing.

    From `held` the hold leaves the counters; from `expired` the charge at the hold is corrected; a call whose row was
    lost is written again.
    """
    ended = Ended()
    first = _first_of_each(settlements, ended)
    settled = _leave(connection, first, now, ended)
    ended.news = [
        is_first and place_of(settlement.call) in settled
        for settlement, is_first in zip(settlements, ended.news, strict=True)
    ]
    return ended


def expect(connection: Connection, settlements: Sequence[Settlement], now: str) -> Ended:
    """The same on the guess that all of these calls are held, as nearly all are, at an instant as given rows carry it.

    Raises:
        GuessedWrong: a call is not held. PostgreSQL, which is not waited for, says so with what is asked next.
    """
    ended = Ended()
    first = _first_of_each(settlements, ended)
    # In order, which an UPDATE has not; and then it sees all attempts. One that has answered is the last one.
    alone = len(first) == 1 and first[0].attempt is AttemptState.ANSWERED
    if connection.dialect.name != "sqlite" and not alone:
        calls.lock(connection, (place_of(settlement.call) for settlement in first))
    rows = [_end_row(each, now) for each in first]
    for row, each in zip(rows, first, strict=True):
        row.update(_place_row(place_of(each.call), CallState.HELD))
    calls.move_held(connection, rows)
    ended.ends = [End(each.call, Left(each.call.hold, NO_CHARGE), each.charge, each.ended) for each in first]
    return ended


def _first_of_each(settlements: Sequence[Settlement], ended: Ended) -> list[Settlement]:
    """Of several settlements of one call the first one. It alone may be news."""
    first: dict[Place, Settlement] = {}
    for settlement in settlements:
        ended.news.append(first.setdefault(place_of(settlement.call), settlement) is settlement)
    return list(first.values())


def _leave(connection: Connection, settlements: list[Settlement], now: str, ended: Ended) -> set[Place]:
    """Move the calls out of their states. Returns those that were not where they are going already."""
    moved = set[Place]()
    for _ in range(2):  # a second look, should a row have appeared between the first one and our own insert
        locked = calls.lock(connection, (place_of(settlement.call) for settlement in settlements))
        states, rows = locked(), list[Row]()
        for settlement in settlements:
            place = place_of(settlement.call)
            left = left_by(settlement.call, states[place]) if place in states else None
            if left is not None:
                rows.append(_place_row(place, states[place]) | _end_row(settlement, now))
                ended.ends.append(End(settlement.call, left, settlement.charge, settlement.ended))
                moved.add(place)
        calls.move(connection, rows)
        settlements = [settlement for settlement in settlements if place_of(settlement.call) not in states]
        settlements = _write_lost(connection, settlements, now, ended, moved)
        if not settlements:
            break
    return moved


def _write_lost(
    connection: Connection, settlements: list[Settlement], now: str, ended: Ended, moved: set[Place]
) -> list[Settlement]:
    """Write calls again whose rows were lost. Returns those whose rows have appeared meanwhile.

    Their holds are gone: for invariant I1 the truth is as late as an expired call's. Of a day whose calls may have been
    deleted nothing is written: the call had expired long before that, and its charge stays.
    """
    since = calls_since(connection) if settlements else ""
    settlements = [settlement for settlement in settlements if settlement.call.day >= since]
    rows = [
        calls.call_row(connection, settlement.call, settlement.state.value)
        | calls.sent(settlement.call)
        | _end_row(settlement, now, expired_at=now)
        for settlement in settlements
    ]
    written = calls.insert_ended(connection, rows) if rows else set()
    for settlement in settlements:
        if place_of(settlement.call) in written:
            left = Left(NOTHING, NO_CHARGE)
            ended.ends.append(End(settlement.call, left, settlement.charge, settlement.ended, was_lost=True))
    moved |= written
    return [settlement for settlement in settlements if place_of(settlement.call) not in written]


def abandon(
    connection: Connection, abandonments: Iterable[Abandonment], moments: dict[str, Moment]
) -> list[Settlement]:
    """Write admissions whose commit is in doubt as released calls. Returns what is left to do for those that are there.

    Writing a row, rather than looking for it, keeps a commit that is still under way from succeeding later.
    """
    left = []
    for abandonment in abandonments:
        admission = abandonment.admission
        moment = moments.get(admission.claims.tenant_id)
        if moment is None:
            continue
        call = HeldCall.of(admission, moment, 0)
        settlement = Settlement(call, CallState.RELEASED, Charge(), ABANDONED, AttemptState.REFUSED)
        row = calls.call_row(connection, call, CallState.RELEASED.value) | _end_row(
            settlement, stamp(connection, moment.now)
        )
        row |= calls.sent(call)
        if not calls.insert_ended(connection, [row]):
            there = calls.find(connection, *place_of(call))
            left.append(Settlement(there, CallState.RELEASED, Charge(), ABANDONED, AttemptState.REFUSED))
    return left


def expire(connection: Connection, doomed: Sequence[HeldCall], now: datetime) -> Ended:
    """Expire those of the calls that are held: charge tokens and cost at the hold, count no request."""
    ended = Ended()
    states = calls.lock(connection, {place_of(call) for call in doomed})()
    rows = []
    for call in {place_of(call): call for call in doomed}.values():
        held = states.get(place_of(call)) is CallState.HELD
        ended.news.append(held)
        if held:
            charge = Charge.at_hold(call)
            end = calls.end_row(CallState.EXPIRED, charge, EXPIRED, ended_at=None, expired_at=stamp(connection, now))
            attempt = {"attempt": None, "upstream_id": None, "number": None}
            rows.append(_place_row(place_of(call), CallState.HELD) | end | attempt)
            ended.ends.append(End(call, Left(call.hold, NO_CHARGE), charge, EXPIRED))
    calls.move(connection, rows)
    return ended


def _place_row(place: Place, before: CallState) -> Row:
    return {"tenant_id": place[0], "id": place[1], "before": before.value}


def _end_row(settlement: Settlement, now: str, *, expired_at: str | None = None) -> Row:
    row = calls.end_row(settlement.state, settlement.charge, settlement.ended, ended_at=now, expired_at=expired_at)
    row["attempt"], row["upstream_id"] = settlement.attempt.value, settlement.upstream_id
    row["number"] = settlement.number
    return row
