"""Price overrides: what operators say at run time of models' prices, for the whole installation.

Nothing is said of the past, nor of the next `NOTICE`: so a process that has read the overrides at one instant knows
what holds at every instant before that one and `GOOD_FOR` more, whatever is said meanwhile; the difference is what the
transaction may take that says it, and clocks play no part in it, because every instant here is the database's. A plan
carries the end of that time, and an admission behind it sends the call back to be planned with what is read anew
(`Outdated`). A worker reads them with each renewal, so that this happens only to one that was suspended.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from uuid import NAMESPACE_URL, uuid5

import orjson
import structlog

from chatapi.domain.actors import Actor
from chatapi.domain.price_book import OVERRIDE, Override, model_price
from chatapi.domain.principals import Role
from chatapi.errors import DatabaseUnavailable, InvalidFields, InvalidInput, NotFound, Taken
from chatapi.logic.changes import Change, change
from chatapi.logic.runtime import Runtime
from chatapi.settings.model_tables import read_price
from chatapi.storage import price_overrides as storage
from chatapi.storage.price_overrides import KeptOverride
from chatapi.storage.trail import INSTALLATION

NOTICE = timedelta(seconds=60)
GOOD_FOR = timedelta(seconds=45)
FARTHEST = timedelta(days=3660)
MOST = 10_000  # every worker reads them all with every renewal
REMEMBERED = 2 * MOST
LONGEST_PRICE = 20_000  # characters of JSON

log = structlog.get_logger()

Price = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class PriceOverride:
    """A price of a model from an instant on, as it was said; None: from then on no override holds."""

    id: str
    model: str
    begins_at: datetime
    price: Price | None
    made_at: datetime


def load(runtime: Runtime) -> None:
    """Have the price book know what has been said until now.

    Raises:
        DatabaseUnavailable: the database cannot answer.
    """
    with runtime.database.read() as connection:
        now = runtime.database.now(connection)  # first, so that what is read is not older
        found = storage.find(connection)
    said: defaultdict[str, list[Override]] = defaultdict(list)
    for each in found:
        said[each.model].append(_override(each.model, each.begins_at, each.price))
    runtime.prices.override(dict(said), now + GOOD_FOR)


def page_of_overrides(
    runtime: Runtime, *, model: str | None = None, after: str | None = None, most: int | None = None
) -> list[PriceOverride]:
    """What has been said, by model and instant.

    Args:
        runtime: what to work with.
        model: only of this one.
        after: `key_of` the last one of the page before.
        most: how many at most.
    """
    with runtime.database.read() as connection:
        found = sorted(map(_told, storage.find(connection, model)), key=key_of)
    return [each for each in found if after is None or key_of(each) > after][:most]


def key_of(override: PriceOverride) -> str:
    """By which they are ordered."""
    return f"{override.model}\n{override.begins_at.isoformat()}"


def set_price(
    runtime: Runtime, actor: Actor, model: str, price: Price | None, begins_at: datetime | None = None
) -> PriceOverride:
    """Set a model's price from an instant on, for all upstreams and service tiers, until another one is set.

    Args:
        runtime: what to work with.
        actor: who does it.
        model: the model itself, no alias.
        price: the words of [[models.prices]] in an upstreams file, but for `from`; None: no override from then on.
        begins_at: a whole second, at least `NOTICE` ahead; None: the first such.

    Raises:
        InvalidFields: it cannot be a price; each word at fault is named.
        InvalidInput: no such model is served, or the instant cannot be one.
        Taken: the model has a price from that instant on already, or there are too many.
        Forbidden: the actor is no operator.
        DatabaseUnavailable: the database cannot answer, or took too long.
    """
    _check_model(runtime, model)
    text = None if price is None else _checked(price)
    with change(runtime, actor, Role.OPERATOR) as made:
        earliest = _whole_second(made.now + NOTICE)
        begins_at = _instant(begins_at or earliest, earliest)
        if storage.count(made.connection) >= MOST:
            raise Taken(f"There are {MOST} overrides already; remove some that have not begun.")
        kept = KeptOverride(model, begins_at, text, made.now)
        if not storage.add(made.connection, kept):
            raise Taken(f"{model} has a price from {begins_at.isoformat()} on already; remove that first.")
        after = {"begins_at": begins_at.isoformat(), "price": price}
        made.record("price.set", INSTALLATION, "price", model, after=after)
        _require_in_time(runtime, made)
    return _told(kept)


def remove_price(runtime: Runtime, actor: Actor, override_id: str) -> None:
    """Take back what was said, as long as it is `NOTICE` ahead.

    Raises:
        NotFound: there is none of this id.
        Taken: it has begun, or begins too soon.
        Forbidden: the actor is no operator.
        DatabaseUnavailable: as `set_price`.
    """
    with change(runtime, actor, Role.OPERATOR) as made:
        found = next((each for each in map(_told, storage.find(made.connection)) if each.id == override_id), None)
        if found is None:
            raise NotFound("There is no such price.")
        if found.begins_at < made.now + NOTICE:
            raise Taken("It has begun, or begins within a minute. To end it, set another price, or price null.")
        storage.remove(made.connection, found.model, found.begins_at)
        before = {"begins_at": found.begins_at.isoformat(), "price": found.price}
        made.record("price.remove", INSTALLATION, "price", found.model, before=before)
        _require_in_time(runtime, made)


def _require_in_time(runtime: Runtime, made: Change) -> None:
    """Refuse to commit what others may rely on not having been said: it took too long to say it (a process that was
    suspended, a database that hung)."""
    if runtime.database.now(made.connection) - made.now > NOTICE - GOOD_FOR:
        raise DatabaseUnavailable


def _check_model(runtime: Runtime, model: str) -> None:
    target = runtime.upstreams.resolve(model)
    if target != model:
        raise InvalidInput(f"{model!r} is an alias; set the price of the model that it stands for, {target!r}.")
    if not any(upstream.serves(model) for upstream in runtime.upstreams):
        raise InvalidInput(f"No upstream serves a model {model!r}.")


def _checked(price: Price) -> str:
    """The price as it is kept."""
    try:
        text = orjson.dumps(price).decode()
    except (TypeError, ValueError):
        raise InvalidFields([("price", "is no JSON")]) from None
    if len(text) > LONGEST_PRICE:
        raise InvalidFields([("price", f"is longer than {LONGEST_PRICE} characters of JSON")])
    if problems := read_price(price)[1]:
        raise InvalidFields([(f"price.{key}", what) for key, what in problems])
    return text


def _instant(begins_at: datetime, earliest: datetime) -> datetime:
    if begins_at.microsecond:
        raise InvalidInput("begins_at must be a whole second.")
    if not earliest <= begins_at <= earliest + FARTHEST:
        raise InvalidInput(
            f"begins_at must be at least {NOTICE.seconds} seconds ahead (now: {earliest.isoformat()} or later), and at "
            "most 10 years: prices never change for calls that were admitted, and every process must hear of them."
        )
    return begins_at.astimezone(UTC)  # not before: at the ends of the calendar there are instants without one in UTC


def _whole_second(instant: datetime) -> datetime:
    """The first whole second from here on."""
    return instant.replace(microsecond=0) + timedelta(seconds=bool(instant.microsecond))


def _told(kept: KeptOverride) -> PriceOverride:
    override_id = str(uuid5(NAMESPACE_URL, f"price_overrides/{kept.begins_at.isoformat()}/{kept.model}"))
    price = None if kept.price is None else orjson.loads(kept.price)
    return PriceOverride(override_id, kept.model, kept.begins_at, price, kept.made_at)


@lru_cache(REMEMBERED)
def _override(model: str, begins_at: datetime, text: str | None) -> Override:
    """As the price book takes it. A price that this version cannot read is unknown, which is not free."""
    if text is None:
        return Override(begins_at, None, ends=True)
    try:
        price, problems = read_price(orjson.loads(text))
    except (TypeError, ValueError, AttributeError):
        problems = [("", "is no JSON")]
    if problems:
        log.error("price_not_read", model=model, begins_at=begins_at.isoformat())
        return Override(begins_at, None)
    return Override(begins_at, model_price(replace(price, since=begins_at.date()), OVERRIDE))
