"""A call through its life: the items that the ledger's writer takes, and the decisions that it gives back."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from chatapi.domain.idempotency import IdempotencyKey, Repeat
from chatapi.domain.limits import NOTHING, Amount, Denial, Need, Standing
from chatapi.domain.principals import Claims
from chatapi.domain.usage import Usage, UsageSource
from chatapi.domain.windows import Moment


class CallState(StrEnum):
    """`held → settled | released | expired`, and `expired → settled | released` when the truth arrives late."""

    HELD = "held"
    SETTLED = "settled"
    RELEASED = "released"
    EXPIRED = "expired"


class AttemptState(StrEnum):
    """An attempt is sent, and then answered, refused (the model did not run) or unknown (it may have run)."""

    SENT = "sent"
    ANSWERED = "answered"
    REFUSED = "refused"
    UNKNOWN = "unknown"


OwnKeys = tuple[tuple[str, str], ...]
"""A tenant's own keys for upstreams: pairs of an upstream and the sealed key, by upstream."""


class Planned(NamedTuple):
    """What the plan of a call relied on, for the admission to check: what it relied on may have changed meanwhile.

    Args:
        keys: the tenant's own keys, sealed.
        since, until: the instants from which and before which its prices hold.
    """

    keys: OwnKeys
    since: datetime
    until: datetime

    def holds(self, keys: OwnKeys, now: datetime) -> bool:
        """Whether the plan is right for these keys, at this instant."""
        return self.keys == keys and self.since <= now < self.until


class Admission(NamedTuple):
    """A call that asks to be admitted. Its id is made before the transaction, so that a retry is the same call."""

    call_id: str
    claims: Claims
    worker_id: str
    endpoint: str
    model: str
    upstream: str
    need: Need
    deadline_s: float
    key: IdempotencyKey | None = None
    sent_model: str = ""
    planned: Planned | None = None


class HeldCall(NamedTuple):
    """A call as the admission wrote it: all that a settlement needs to write a lost row again.

    `cost_bound` is None where a candidate has no known price. `sent_model` is the name by which its upstream knows the
    model, for the attempt's row; empty where that row is there.
    """

    call_id: str
    claims: Claims
    worker_id: str
    endpoint: str
    model: str
    upstream: str
    day: str
    prompt_bound: int
    completion_granted: int
    cost_bound: int | None
    admitted_at: datetime
    deadline_at: datetime
    sent_model: str = ""

    @property
    def hold(self) -> Amount:
        """What is set aside while the call is in flight."""
        return Amount(1, self.prompt_bound + self.completion_granted, self.cost_bound or 0)

    @classmethod
    def of(cls, admission: Admission, moment: Moment, completion_granted: int) -> HeldCall:
        """The call that an admission asks for, with as much completion as it is granted."""
        return cls(
            admission.call_id,
            admission.claims,
            admission.worker_id,
            admission.endpoint,
            admission.model,
            admission.upstream,
            moment.day,
            admission.need.prompt_bound,
            completion_granted,
            None if admission.need.price is None else admission.need.cost(completion_granted),
            moment.now,
            moment.now + timedelta(seconds=admission.deadline_s),
            admission.sent_model,
        )


class Grant(NamedTuple):
    """The call is admitted and held.

    Args:
        call: as it is held.
        bounded: whether `call.completion_granted` must be sent upstream as its cap.
        found: how every limit stood just before.
        now: the instant of its admission.
    """

    call: HeldCall
    bounded: bool
    found: tuple[Standing, ...]
    now: datetime

    @property
    def standings(self) -> tuple[Standing, ...]:
        """How every limit stands with the call in flight."""
        hold = self.call.hold
        return tuple(standing.after(NOTHING, hold) for standing in self.found)


class Refusal(StrEnum):
    """Why an admission was not even measured."""

    UNKNOWN_ACCESS_TOKEN = "unknown_access_token"
    LEASE_EXPIRED = "lease_expired"
    MODEL_NOT_ALLOWED = "model_not_allowed"
    UNPRICED = "unpriced"  # its cost is limited, and nobody knows its price
    COUNT_FIRST = (
        "count_first"  # it would fit with a shortened completion; a counted prompt may leave room for all of it
    )


class Outdated(NamedTuple):
    """The plan relied on what does not hold any more: plan the call again with these keys, at this instant's prices."""

    keys: OwnKeys
    now: datetime


Decision = Grant | Denial | Refusal | Repeat | Outdated


class Charge(NamedTuple):
    """What a call costs its counters: whether it was answered (one request), its usage, its cost in nano-dollars; None
    is the cost of what has no known price.
    """

    answered: bool = False
    usage: Usage = Usage()
    cost: int | None = 0

    @property
    def amount(self) -> Amount:
        """The charge by metric."""
        return Amount(int(self.answered), self.usage.total_tokens, self.cost or 0)

    @classmethod
    def at_hold(cls, call: HeldCall, *, answered: bool = False) -> Charge:
        """What is unknown is never free: tokens and cost at the hold; a request only if somebody was answered."""
        return cls(answered, Usage(call.prompt_bound, 0, call.completion_granted, 0, UsageSource.HOLD), call.cost_bound)


NO_CHARGE = Charge()


class Settlement(NamedTuple):
    """The truth about a call. It carries the whole call, so that one that finds no row can write it.

    Args:
        call: as admitted.
        state: settled, or released when the upstream never ran it.
        charge: what it costs; nothing when released.
        ended: why it ended, one word for the ledger (`completed`, `client_gone`, `upstream_error`, …).
        attempt: what became of the attempt at the upstream.
        upstream_id: the upstream's own id of the call, where it gave one.
        number: of that attempt.
    """

    call: HeldCall
    state: CallState
    charge: Charge
    ended: str
    attempt: AttemptState
    upstream_id: str | None = None
    number: int = 1


@dataclass(frozen=True, slots=True)
class Abandonment:
    """An admission whose commit is in doubt: written again under its id, then released; never merely looked up."""

    admission: Admission


Item = Admission | Settlement | Abandonment
