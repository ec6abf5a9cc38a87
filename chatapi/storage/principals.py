"""Principals as they are now: which day it is at their tenants', are their access tokens in force, what limits hold."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache
from typing import Any

import orjson
from sqlalchemy import (
    Connection,
    Executable,
    FromClause,
    ScalarSelect,
    Text,
    and_,
    case,
    cast,
    func,
    literal_column,
    select,
)

from chatapi.domain.calls import OwnKeys
from chatapi.domain.counters import Named
from chatapi.domain.effective_limits import Defaults, Granted, LimitRow, LimitScope, effective_limits, named_by
from chatapi.domain.limits import Limit, Metric, Scope
from chatapi.domain.model_names import allowed
from chatapi.domain.principals import Claims
from chatapi.domain.windows import Moment, Window, Zone
from chatapi.storage.admin_tables import grants, upstream_keys
from chatapi.storage.columns import ID
from chatapi.storage.engine import Database
from chatapi.storage.given import Kind, Statement, Types, read_stamp
from chatapi.storage.tables import access_tokens, limits, tenants, users, workers

MOST_ZONES = 4096  # of tenants, that are remembered
Clock = Callable[[], tuple[datetime, dict[str, Moment]]]  # waits for the instant of a transaction, and what it is where
Asker = tuple[Claims, str]  # who asks, and the id of the worker that asks for it


@dataclass(frozen=True, slots=True)
class Rules:
    """The limits in force for a principal, and the counters that are kept only because limits name them."""

    limits: tuple[Limit, ...]
    named: tuple[Named, ...]


class RuleBook:
    """Reads rules as the database gives them, and remembers what it has read: they seldom change.

    Args:
        defaults: the installation's limits for every user.
    """

    def __init__(self, defaults: Defaults) -> None:
        self._defaults = defaults
        self.read = lru_cache(maxsize=4096)(self._read)

    def _read(self, text: str, granted: str) -> Rules:
        """The rules of two JSON texts: of lists `[scope, scope_id, metric, window, model, value]`, the limits that were
        set; and of lists `[scope, metric, window, model, value]`, the grants of windows that are open."""
        rows = [
            LimitRow(scope, scope_id, Metric(metric), Window(window), value, model)
            for scope, scope_id, metric, window, model, value in orjson.loads(text)
        ]
        more = [
            Granted(Scope(scope), Metric(metric), Window(window), model, value)
            for scope, metric, window, model, value in orjson.loads(granted)
        ]
        return Rules(effective_limits(rows, self._defaults, more), named_by(rows))


@dataclass(frozen=True, slots=True)
class Facts:
    """What holds for a principal now.

    Args:
        in_force: its access token is known, neither expired nor revoked, and its user and tenant are active.
        renewed_at: when the lease of the worker that asks was renewed last; None when it has none.
        rules: the limits that hold for it.
        models: patterns of the models that are allowed, in as many lists as there are: each must have one that fits.
        clamps: whether a call that fits under its limits only with a shorter completion is shortened, or denied.
        keys: the tenant's own keys for upstreams, sealed.
    """

    in_force: bool
    renewed_at: datetime | None
    rules: Rules
    models: tuple[tuple[str, ...], ...] = ()
    clamps: bool = True
    keys: OwnKeys = ()

    def allows(self, model: str) -> bool:
        """Whether the principal may use this model (no alias)."""
        return allowed(model, self.models)


class Calendar:
    """Says what time it is at tenants, by the database's clock, and guesses it from the time zones that it has read."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._zones: dict[str, Zone] = {}
        self._ahead = timedelta()  # of this machine's clock, where the database's is

    def ask(self, connection: Connection, tenant_ids: Iterable[str]) -> Clock:
        """The database's clock, and the same instant in the time zone of each of these tenants that exists."""
        answer = _MOMENTS.ask(connection, [{"tenant_id": tenant_id} for tenant_id in sorted(set(tenant_ids))])

        @cache
        def clock() -> tuple[datetime, dict[str, Moment]]:
            rows = answer()
            now = self._database.instant(connection, read_stamp(rows[0][0]))
            self._ahead = now - datetime.now(UTC)
            zones = {row[1]: Zone(row[2], row[3], row[4] and read_stamp(row[4])) for row in rows if row[1] is not None}
            if len(self._zones) > MOST_ZONES:
                self._zones.clear()
            self._zones.update(zones)
            return now, {tenant_id: Moment.at(now, zone.at(now)) for tenant_id, zone in zones.items()}

        return clock

    def guess(self, connection: Connection, tenant_ids: Iterable[str]) -> dict[str, Moment] | None:
        """The same by this machine's clock, set by the database's, and the zones as they were; None for want of one."""
        now = self._database.instant(connection, datetime.now(UTC) + self._ahead)
        try:
            zones = {tenant_id: self._zones[tenant_id] for tenant_id in tenant_ids}
        except KeyError:
            return None
        return {tenant_id: Moment.at(now, zone.at(now)) for tenant_id, zone in zones.items()}


def facts(
    connection: Connection,
    book: RuleBook,
    askers: Iterable[Asker],
    days: Mapping[str, str],
    now: Callable[[], datetime],
) -> dict[Asker, Facts]:
    """What holds for these principals. Ask for it after their counters are locked.

    Args:
        connection: with the locks.
        book: reads the rules.
        askers: who asks.
        days: the local date at each tenant, which says what windows are open, and so what grants count; of tenants that
            are not in it none do.
        now: waits for the instant.
    """
    rows = [
        {
            "tenant_id": claims.tenant_id,
            "user_id": claims.user_id,
            "jti": claims.jti,
            "worker_id": worker_id,
            "day": days.get(claims.tenant_id, ""),
        }
        for claims, worker_id in askers
    ]
    found = _FACTS.run(connection, rows)
    instant = now()
    return {(Claims(*row[:3]), row[3]): _read(row, book, instant) for row in found}


def _read(row: Sequence[Any], book: RuleBook, now: datetime) -> Facts:
    expires_at, revoked_at, user_status, tenant_status, renewed_at, *patterns, near_limit = row[4:13]
    rules = book.read(row[13] or "[]", row[14] or "[]")
    in_force = (
        expires_at is not None
        and read_stamp(expires_at) > now
        and revoked_at is None
        and user_status == "active"
        and tenant_status == "active"
    )
    models = tuple(read_patterns(text) for text in patterns if text is not None)
    renewed = None if renewed_at is None else read_stamp(renewed_at)
    return Facts(in_force, renewed, rules, models, near_limit != "refuse", read_keys(row[15] or "[]"))


@lru_cache(maxsize=4096)
def read_patterns(text: str) -> tuple[str, ...]:
    """The patterns of a JSON text, as tenants, users and access tokens have it in their `models`."""
    return tuple(orjson.loads(text))


@lru_cache(maxsize=4096)
def read_keys(text: str) -> OwnKeys:
    """The own keys of a JSON text of lists `[upstream, sealed key]`."""
    return tuple(sorted((upstream, sealed) for upstream, sealed in orjson.loads(text)))


def _moments(kind: Kind, given: FromClause) -> list[Executable]:
    zone = (cast(tenants.c.id, Text), tenants.c.timezone, tenants.c.next_timezone, tenants.c.next_timezone_from)
    here = given.outerjoin(tenants, tenants.c.id == given.c.tenant_id)
    return [select(kind.clock(), *zone).select_from(here)]


def _facts(kind: Kind, given: FromClause) -> list[Executable]:
    named = (limits.c.scope, limits.c.scope_id, limits.c.metric, limits.c.window, limits.c.model, limits.c.value)
    whose = limits.c.scope_id.in_([given.c.tenant_id, given.c.user_id, given.c.jti])
    # All scopes there are: so the key is known as far as the id, and other users' limits are not read through.
    scopes = limits.c.scope.in_([literal_column(f"'{scope}'", Text) for scope in LimitScope])
    set_limits = select(kind.json_lists(*named)).where(limits.c.tenant_id == given.c.tenant_id, scopes, whose)
    month = func.substr(given.c.day, literal_column("1"), literal_column("7"))
    granted = select(kind.json_lists(grants.c.scope, grants.c.metric, grants.c.window, grants.c.model, grants.c.value))
    granted = granted.where(
        grants.c.tenant_id == given.c.tenant_id,
        grants.c.scope_id.in_([given.c.tenant_id, given.c.user_id, given.c.jti]),
        grants.c.window_key.in_([given.c.day, month]),
        grants.c.withdrawn_at.is_(None),
    )
    # Whose it is, is no part of how it is found: by the user all their earlier access tokens would be read through.
    token = and_(access_tokens.c.tenant_id == given.c.tenant_id, access_tokens.c.jti == given.c.jti)
    expires_at = case((access_tokens.c.user_id == given.c.user_id, access_tokens.c.expires_at))
    here = (
        given.outerjoin(access_tokens, token)
        .outerjoin(users, and_(users.c.tenant_id == given.c.tenant_id, users.c.id == given.c.user_id))
        .outerjoin(tenants, tenants.c.id == given.c.tenant_id)
        .outerjoin(workers, workers.c.id == given.c.worker_id)
    )
    return [
        select(
            *(cast(given.c[name], Text) for name in _ASKER if name != "day"),
            expires_at,
            access_tokens.c.revoked_at,
            users.c.status,
            tenants.c.status,
            workers.c.renewed_at,
            users.c.models,
            tenants.c.models,
            access_tokens.c.models,
            tenants.c.near_limit,
            set_limits.correlate(given).scalar_subquery(),
            granted.correlate(given).scalar_subquery(),
            _own_keys(kind, given),
        ).select_from(here)
    ]


def _own_keys(kind: Kind, given: FromClause) -> ScalarSelect[Any]:
    """The tenant's own keys for upstreams, which few have: the key's first column says so."""
    found = select(kind.json_lists(upstream_keys.c.upstream, kind.text_of(upstream_keys.c.sealed_key)))
    return found.where(upstream_keys.c.tenant_id == given.c.tenant_id).correlate(given).scalar_subquery()


_ASKER: Types = {"tenant_id": ID, "user_id": ID, "jti": ID, "worker_id": ID, "day": Text()}
_MOMENTS = Statement({"tenant_id": ID}, _moments, returns=True)
_FACTS = Statement(_ASKER, _facts, returns=True)
