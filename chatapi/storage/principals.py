"""Principals as they are now: are their access tokens in force, what limits hold."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

import orjson
from sqlalchemy import (
    ColumnElement,
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
from chatapi.domain.windows import Window
from chatapi.storage.admin_tables import grants, upstream_keys
from chatapi.storage.calendar import Clocked, clock_of_tenants
from chatapi.storage.columns import ID
from chatapi.storage.given import Kind, Statement, Types, read_stamp
from chatapi.storage.guessing import GuessedWrong, expected
from chatapi.storage.tables import access_tokens, limits, tenants, users, workers

MOST_PRINCIPALS = 4096
NO_LIMITS = "[]"
Asker = tuple[Claims, str]  # who asks, and the id of the worker that asks for it


@dataclass(frozen=True, slots=True)
class Rules:
    """The limits in force for a principal, the counters that are kept only because limits name them, and the text that
    the limits were read from."""

    limits: tuple[Limit, ...]
    named: tuple[Named, ...]
    text: str


class RuleBook:
    """Reads rules as the database gives them, and remembers what it has read: they seldom change.

    Args:
        defaults: the installation's limits for every user.
    """

    def __init__(self, defaults: Defaults) -> None:
        self._defaults = defaults
        self.read = lru_cache(maxsize=MOST_PRINCIPALS)(self._read)
        self._last: dict[Claims, str] = {}

    def remember(self, facts: Mapping[Asker, Facts]) -> None:
        """Note what limits are set. Only what a writing connection has read: the same limits in the same order."""
        for (claims, _), fact in facts.items():
            if claims not in self._last and len(self._last) >= MOST_PRINCIPALS:
                self._last.clear()
            self._last[claims] = fact.rules.text

    def guess(self, principals: Iterable[Claims]) -> dict[Claims, str] | None:
        """The limits that are set for each of these, if nothing has changed; None where they were never read."""
        try:
            return {claims: self._last[claims] for claims in principals}
        except KeyError:
            return None

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
        return Rules(effective_limits(rows, self._defaults, more), named_by(rows), text)


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
        texts: what the last four were read from, as `steady` selects it.
    """

    in_force: bool
    renewed_at: datetime | None
    rules: Rules
    models: tuple[tuple[str, ...], ...]
    clamps: bool
    keys: OwnKeys
    texts: tuple[str | None, ...]

    def allows(self, model: str) -> bool:
        """Whether the principal may use this model (no alias)."""
        return allowed(model, self.models)


def facts(
    connection: Connection,
    book: RuleBook,
    askers: Iterable[Asker],
    days: Mapping[str, str],
    now: Callable[[Clocked], datetime],
) -> dict[Asker, Facts]:
    """What holds for these principals. Ask for it after their counters are locked.

    Args:
        connection: with the locks.
        book: reads the rules.
        askers: who asks.
        days: the local date at each tenant, which says what windows are open, and so what grants count; of tenants that
            are not in it none do.
        now: says the instant; it is given rows of the clock, as a calendar reads them.
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
    instant = now([row[_CLOCK:] for row in found])
    return {(Claims(*row[:3]), row[3]): _read(row, book, instant) for row in found}


def expect(connection: Connection, texts: Mapping[Claims, str]) -> None:
    """Expect that the limits that were set are as they were read. Ask for it after the counters are locked.

    Raises:
        GuessedWrong: they are not. PostgreSQL, which is not waited for, says so with what is asked next.
    """
    rows = [{**claims._asdict(), "text": text} for claims, text in texts.items()]
    if connection.dialect.name != "sqlite":
        _EXPECT.run(connection, rows)
    elif any(found != text for (found,), text in zip(_TEXTS.run(connection, rows), texts.values(), strict=True)):
        raise GuessedWrong


def _read(row: Sequence[Any], book: RuleBook, now: datetime) -> Facts:
    expires_at, revoked_at, user_status, tenant_status, renewed_at, *patterns, near_limit = row[4:13]
    rules = book.read(row[13] or NO_LIMITS, row[14] or "[]")
    in_force = (
        expires_at is not None
        and read_stamp(expires_at) > now
        and revoked_at is None
        and user_status == "active"
        and tenant_status == "active"
    )
    models = tuple(read_patterns(text) for text in patterns if text is not None)
    renewed = None if renewed_at is None else read_stamp(renewed_at)
    clamps, keys = near_limit != "refuse", read_keys(row[15] or "[]")
    return Facts(in_force, renewed, rules, models, clamps, keys, tuple(row[_STEADY:_CLOCK]))


@lru_cache(maxsize=4096)
def read_patterns(text: str) -> tuple[str, ...]:
    """The patterns of a JSON text, as tenants, users and access tokens have it in their `models`."""
    return tuple(orjson.loads(text))


@lru_cache(maxsize=4096)
def read_keys(text: str) -> OwnKeys:
    """The own keys of a JSON text of lists `[upstream, sealed key]`."""
    return tuple(sorted((upstream, sealed) for upstream, sealed in orjson.loads(text)))


def _facts(kind: Kind, given: FromClause) -> list[Executable]:
    expires_at = case((access_tokens.c.user_id == given.c.user_id, access_tokens.c.expires_at))
    return [
        select(
            *(cast(given.c[name], Text) for name in _ASKER if name != "day"),
            expires_at,
            access_tokens.c.revoked_at,
            users.c.status,
            tenants.c.status,
            workers.c.renewed_at,
            *steady(kind, given),
            *clock_of_tenants(kind),
        ).select_from(of_askers(given))
    ]


def of_askers(given: FromClause) -> FromClause:
    """Who asks, with the rows that say who that is; absent where there are none."""
    # Whose it is, is no part of how it is found: by the user all their earlier access tokens would be read through.
    token = and_(access_tokens.c.tenant_id == given.c.tenant_id, access_tokens.c.jti == given.c.jti)
    return (
        given.outerjoin(access_tokens, token)
        .outerjoin(users, and_(users.c.tenant_id == given.c.tenant_id, users.c.id == given.c.user_id))
        .outerjoin(tenants, tenants.c.id == given.c.tenant_id)
        .outerjoin(workers, workers.c.id == given.c.worker_id)
    )


def steady(kind: Kind, given: FromClause) -> list[ColumnElement[Any]]:
    """What holds for an asker until somebody changes it, as texts: patterns of models in three lists, what happens near
    a limit, the limits that are set, the grants of a day, and the tenant's own keys."""
    patterns = (users.c.models, tenants.c.models, access_tokens.c.models)
    more = (_set_limits(kind, given), _grants(kind, given), _own_keys(kind, given))
    return [*patterns, tenants.c.near_limit, *more]


def _grants(kind: Kind, given: FromClause) -> ScalarSelect[Any]:
    """The grants of windows that are open on the day."""
    month = func.substr(given.c.day, literal_column("1"), literal_column("7"))
    granted = select(kind.json_lists(grants.c.scope, grants.c.metric, grants.c.window, grants.c.model, grants.c.value))
    granted = granted.where(
        grants.c.tenant_id == given.c.tenant_id,
        grants.c.scope_id.in_([given.c.tenant_id, given.c.user_id, given.c.jti]),
        grants.c.window_key.in_([given.c.day, month]),
        grants.c.withdrawn_at.is_(None),
    )
    return granted.correlate(given).scalar_subquery()


def _set_limits(kind: Kind, given: FromClause) -> ScalarSelect[Any]:
    """The limits that were set for a principal and what it belongs to."""
    named = (limits.c.scope, limits.c.scope_id, limits.c.metric, limits.c.window, limits.c.model, limits.c.value)
    whose = limits.c.scope_id.in_([given.c.tenant_id, given.c.user_id, given.c.jti])
    # All scopes there are: so the key is known as far as the id, and other users' limits are not read through.
    scopes = limits.c.scope.in_([literal_column(f"'{scope}'", Text) for scope in LimitScope])
    found = select(kind.json_lists(*named)).where(limits.c.tenant_id == given.c.tenant_id, scopes, whose)
    return found.correlate(given).scalar_subquery()


def _texts(kind: Kind, given: FromClause) -> list[Executable]:
    return [select(_text(kind, given)).select_from(given)]


def _expect(kind: Kind, given: FromClause) -> list[Executable]:
    return [select(expected(_text(kind, given) == given.c.text)).select_from(given)]


def _text(kind: Kind, given: FromClause) -> ColumnElement[str]:
    return func.coalesce(_set_limits(kind, given), literal_column(f"'{NO_LIMITS}'", Text))


def _own_keys(kind: Kind, given: FromClause) -> ScalarSelect[Any]:
    """The tenant's own keys for upstreams, which few have: the key's first column says so."""
    found = select(kind.json_lists(upstream_keys.c.upstream, kind.text_of(upstream_keys.c.sealed_key)))
    return found.where(upstream_keys.c.tenant_id == given.c.tenant_id).correlate(given).scalar_subquery()


_ASKER: Types = {"tenant_id": ID, "user_id": ID, "jti": ID, "worker_id": ID, "day": Text()}
_FACTS = Statement(_ASKER, _facts, returns=True)
_STEADY, _CLOCK = 9, 16  # where in its rows these begin
_READ_LIMITS: Types = {"tenant_id": ID, "user_id": ID, "jti": ID, "text": Text()}
_EXPECT = Statement(_READ_LIMITS, _expect)
_TEXTS = Statement(_READ_LIMITS, _texts, returns=True)
