"""A call explained: how it was bounded, what it held, what it was charged and why, as its row and its attempts say.

Two things stand in no row and are worked out anew: which counters only a limit names (by the limits that are set now),
and the prices (by the price list and the configuration, for the instant of the admission).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from chatapi.domain import prices
from chatapi.domain.calls import AttemptState, CallState, Charge, HeldCall
from chatapi.domain.counters import CounterKey, Left, change_of, kept_counters, named_counters
from chatapi.domain.effective_limits import named_by
from chatapi.domain.limits import Amount
from chatapi.domain.names import is_id
from chatapi.domain.prices import ModelPrice
from chatapi.domain.principals import Claims
from chatapi.domain.retention import EPOCH
from chatapi.domain.windows import Window
from chatapi.errors import InvalidInput, InvalidRequest, UnknownAccessToken
from chatapi.logic.runtime import Runtime
from chatapi.storage import explain, limits, me
from chatapi.storage.accounts import Transaction
from chatapi.storage.explain import Attempt, KeptCall

KINDS = ("prompt", "cached", "completion", "reasoning")

Record = dict[str, object]


@dataclass(frozen=True, slots=True)
class Explained:
    """A call with all that can be told of it.

    Args:
        kept: as the ledger has it.
        attempts: the first one first.
        counters: that it entered; those of days and months first.
        price: that held when it was admitted, at the upstream that it was last sent to; None: nobody knows it now.
        username, tenant: whose it was.
    """

    kept: KeptCall
    attempts: tuple[Attempt, ...]
    counters: tuple[CounterKey, ...]
    price: ModelPrice | None
    username: str
    tenant: str

    @property
    def cost_bound(self) -> int | None:
        """The most that it could cost, in nano-dollars. None: unknown, because a candidate had no price.

        The ledger says 0 for that, too, once the cost is known, or nothing was charged.
        """
        bound = self.kept.held.cost_bound
        return None if bound == 0 and (self.kept.charge.cost or self.price is None) else bound

    @property
    def adds_up(self) -> bool:
        """Whether the prices, by its tokens alone, give the cost that was charged."""
        charge = self.kept.charge
        return self.price is not None and self.price.cost(charge.usage) == charge.cost

    def entered(self, key: CounterKey) -> Amount | None:
        """What it was charged in one of its counters; None while it is held."""
        kept = self.kept
        if kept.state is CallState.HELD:
            return None
        left = Left(kept.held.hold, Charge())
        return change_of(key.window, left, kept.charge, kept.ended or "").used

    def at_risk(self, attempt: Attempt) -> bool:
        """Whether the model may have run in this attempt although nobody saw how it ended."""
        unseen = attempt.state is AttemptState.SENT and self.kept.state is not CallState.HELD
        return unseen or attempt.state is AttemptState.UNKNOWN


def own_call(runtime: Runtime, claims: Claims, call_id: str) -> Explained:
    """A call of the user who asks.

    Raises:
        InvalidRequest: the user has no such call (404), whosever it may be.
        UnknownAccessToken: the access token, its user or its tenant is not in force.
        DatabaseUnavailable: the database cannot answer.
    """
    with runtime.database.read() as connection:
        if me.find_person(connection, runtime.database, claims) is None:
            raise UnknownAccessToken
        kept = explain.find_call(connection, call_id, claims) if is_id(call_id) else None
        if kept is None:
            raise InvalidRequest(_absent(connection, call_id), param="id", code="call_not_found", status=404)
        return _explained(runtime, connection, kept)


def any_call(runtime: Runtime, call_id: str) -> Explained:
    """A call of anybody, for who runs the installation.

    Raises:
        InvalidInput: there is none of this id.
        DatabaseUnavailable: the database cannot answer.
    """
    call_id = call_id.lower()
    with runtime.database.read() as connection:
        kept = explain.find_call(connection, call_id) if is_id(call_id) else None
        if kept is None:
            raise InvalidInput(_absent(connection, call_id))
        return _explained(runtime, connection, kept)


def utc(instant: datetime) -> str:
    """An instant as ISO 8601 has it, in UTC, to the millisecond where it is no whole second."""
    timespec = "milliseconds" if instant.microsecond else "seconds"
    return instant.astimezone(UTC).isoformat(timespec=timespec).replace("+00:00", "Z")


def call_record(kept: KeptCall) -> Record:
    """What a list of calls says of one: no content, and the cost is null where it is not known (yet)."""
    held, usage = kept.held, kept.charge.usage
    return {
        "object": "call",
        "id": held.call_id,
        "state": kept.state.value,
        "endpoint": held.endpoint,
        "model": held.model,
        "upstream": held.upstream,
        "access_token": held.claims.jti,
        "day": held.day,
        "admitted_at": utc(held.admitted_at),
        "ended_at": None if kept.ended_at is None else utc(kept.ended_at),
        "ended": kept.ended,
        "answered": kept.charge.answered,
        "usage": {
            "source": usage.source.value,
            "prompt_tokens": usage.prompt_tokens,
            "cached_tokens": usage.cached_tokens,
            "completion_tokens": usage.completion_tokens,
            "reasoning_tokens": usage.reasoning_tokens,
            "total_tokens": usage.total_tokens,
        },
        "cost_nanodollars": None if kept.state is CallState.HELD else kept.charge.cost,
    }


def as_record(call: Explained) -> Record:
    """All that can be told of a call, for programs: `GET /v1/me/calls/{id}`, and `chatapi explain --json`."""
    held = call.kept.held
    bound = {
        "prompt_tokens": held.prompt_bound,
        "completion_tokens": held.completion_granted,
        "total_tokens": held.prompt_bound + held.completion_granted,
        "cost_nanodollars": call.cost_bound,
    }
    return call_record(call.kept) | {
        "username": call.username,
        "tenant": call.tenant,
        "deadline_at": utc(held.deadline_at),
        "bound": bound,
        "counters": [_counter_record(call, key) for key in call.counters],
        "price": _price_record(call),
        "attempts": [_attempt_record(call, place) for place in range(len(call.attempts))],
        "states": states(call.kept),
    }


def states(kept: KeptCall) -> list[Record]:
    """The states that the call went through, each with the instant at which it entered it."""
    passed: list[Record] = [{"state": CallState.HELD.value, "at": utc(kept.held.admitted_at), "late": False}]
    if kept.expired_at is not None:
        passed.append({"state": CallState.EXPIRED.value, "at": utc(kept.expired_at), "late": False})
    if kept.ended_at is not None:
        late = kept.expired_at is not None
        passed.append({"state": kept.state.value, "at": utc(kept.ended_at), "late": late})
    return passed


def per_million(call: Explained) -> dict[str, int | None]:
    """Nano-dollars for a million tokens of each kind, of a prompt as long as this call's; of the standard service tier.

    None where nobody knows.
    """
    if call.price is None:
        return dict.fromkeys(KINDS)
    tokens = call.price.of_tokens(call.kept.charge.usage.prompt_tokens)
    return {kind: prices.per_million(getattr(tokens, kind)) for kind in KINDS}


def _explained(runtime: Runtime, connection: Transaction, kept: KeptCall) -> Explained:
    held = kept.held
    attempts = tuple(explain.attempts_of(connection, held))
    upstreams = {upstream.name: upstream for upstream in runtime.upstreams}
    price, last = None, upstreams.get(held.upstream)
    if last is not None:
        price = runtime.prices.price(held.model, last.prices_of, held.admitted_at)
    whose = explain.names_of(connection, held.claims)
    return Explained(kept, attempts, _counters(connection, held), price, *whose)


def _counters(connection: Transaction, held: HeldCall) -> tuple[CounterKey, ...]:
    claims = held.claims
    ids = [claims.jti, claims.user_id, claims.tenant_id]
    named = named_by(limits.find_limits(connection, claims.tenant_id, scope_ids=ids))
    kept = kept_counters(claims, held.day)
    return (*kept, *sorted(named_counters(named, held.model, claims, held.day, held.admitted_at)))


def _counter_record(call: Explained, key: CounterKey) -> Record:
    entered = call.entered(key)
    return {
        "scope": key.scope,
        "window": key.window,
        "window_key": None if key.window == Window.AT_ONCE else key.window_key,
        "model": key.model or None,
        "held": _amount(call.kept.held.hold, call.cost_bound),
        "charged": None if entered is None else _amount(entered, entered.cost if _is_priced(call) else None),
    }


def _is_priced(call: Explained) -> bool:
    return call.kept.charge.cost is not None


def _amount(amount: Amount, cost: int | None) -> Record:
    return {"requests": amount.requests, "tokens": amount.tokens, "cost_nanodollars": cost}


def _price_record(call: Explained) -> Record | None:
    price = call.price
    if price is None:
        return None
    since = None if price.since is None else price.since.isoformat()
    costs = {"nanodollars_per_million_tokens": per_million(call), "adds_up": call.adds_up}
    return {"source": price.source, "since": since, **costs}


def _attempt_record(call: Explained, place: int) -> Record:
    attempt = call.attempts[place]
    return {
        "number": attempt.number,
        "upstream": attempt.upstream,
        "model": attempt.model,
        "state": attempt.state.value,
        "at_risk": call.at_risk(attempt),
        "started_at": utc(attempt.started_at),
        "ended_at": None if attempt.ended_at is None else utc(attempt.ended_at),
        "upstream_id": attempt.upstream_id,
    }


def _absent(connection: Transaction, call_id: str) -> str:
    """That there is no such call, and whether there may have been one."""
    since = explain.calls_since(connection)
    if since and is_id(call_id):
        made_at = EPOCH.timestamp() + (UUID(call_id).int >> 80) / 1000
        made_on = datetime.fromtimestamp(min(made_at, 4e9), UTC).date().isoformat()
        if made_on <= since:
            return f"There is no call of this id. Calls of days before {since} have been deleted; usage by day is kept."
    return "There is no call of this id."
