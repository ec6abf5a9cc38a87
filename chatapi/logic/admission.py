"""Admission: bound a call from above, have the ledger hold the bound, and say what may be sent upstream.

When only the prompt's byte bound is in the way, the prompt is counted with the model's own vocabulary and asked again;
when only calls in flight are in the way, the call waits its turn.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from chatapi.domain.calls import Admission, Charge, Decision, Grant, Outdated, OwnKeys, Refusal
from chatapi.domain.idempotency import IdempotencyKey, Repeat
from chatapi.domain.limits import Denial, Metric
from chatapi.domain.model_request import ModelRequest
from chatapi.domain.principals import Claims
from chatapi.domain.usage import Usage
from chatapi.errors import ChatAPIError, InvalidRequest, KeyTaken, QuotaDenied, Unavailable, UnknownAccessToken
from chatapi.logic import price_overrides
from chatapi.logic.kept_replies import ReplyKeeper
from chatapi.logic.plans import Candidate, Plan, plan
from chatapi.logic.pricing import cost
from chatapi.logic.running import Client, RunningCall
from chatapi.logic.runtime import Runtime
from chatapi.storage import leases
from chatapi.storage.ledger import new_id

MOST_PLANS = 5  # of one call in a row: what they rely on changes a few times a day


@dataclass(frozen=True, slots=True)
class Ask:
    """A call as an endpoint understands it: who asks, through which endpoint, for what; who waits for the answer,
    where the server can tell; and by which key it may be asked for again."""

    claims: Claims
    endpoint: str
    request: ModelRequest
    client: Client | None = None
    key: IdempotencyKey | None = None


@dataclass(slots=True)
class Admitted:
    """An admitted call: its hold is in the ledger, and this is what to send, and where.

    Args:
        grant: the ledger's decision.
        call: as it runs.
        plan: who may answer it, and how it is measured.
        candidate: who is asked now.
        wanted: tokens of completion that were asked for, all choices together.
        keeper: keeps the reply for repeats, where the client gave a key.
    """

    grant: Grant
    call: RunningCall
    plan: Plan
    candidate: Candidate
    wanted: int
    keeper: ReplyKeeper | None = None

    @property
    def request(self) -> ModelRequest:
        """The request as the upstream is asked it."""
        return self.candidate.request

    @property
    def clamped(self) -> int | None:
        """The completion cap, in tokens per choice, where a limit made it shorter than what was asked for."""
        granted = self.grant.call.completion_granted
        return granted // self.request.choices if granted < self.wanted else None

    def charge(self, usage: Usage, *, answered: bool) -> Charge:
        """What the call is charged for this usage."""
        price = self.plan.quotes[self.candidate.upstream.prices_of].price
        return Charge(answered, usage, cost(price, self.call.held, usage, self.plan.units))

    def body(self, candidate: Candidate) -> dict[str, object]:
        """The body that this candidate is sent."""
        request = candidate.request
        cap = self.grant.call.completion_granted // request.choices if self.grant.bounded else None
        return request.upstream_body(candidate.model, cap)


def admit(runtime: Runtime, ask: Ask) -> Admitted:
    """Hold the bound of a call.

    Raises:
        InvalidRequest: no upstream can be asked this, or nothing bounds it.
        KeyTaken: an earlier call has its idempotency key.
        UpstreamResting: all upstreams of the model have failed just now.
        UnknownAccessToken: the access token, its user or its tenant is not in force.
        QuotaDenied: a limit is in the way.
        Unavailable: the database cannot answer, or an own key of the tenant cannot be opened; nothing is held.
    """
    application = Application(runtime, ask)
    admission = application.admission
    runtime.running.enter(admission.call_id)
    try:
        grant = _granted(runtime, application)
    except BaseException:
        runtime.running.leave(admission.call_id)
        raise
    call = RunningCall(grant.call, runtime.writer, runtime.running, admission.deadline_s)
    if ask.client is not None:
        call.watch(ask.client)
    keeper = None if ask.key is None else ReplyKeeper(runtime, grant.call, ask.key)
    planned = application.plan
    return Admitted(grant, call, planned, planned.candidates[0], application.admission.need.completion_wanted, keeper)


class Application:
    """A call that asks to be admitted: planned, and planned anew where what the plan relied on does not hold."""

    def __init__(self, runtime: Runtime, ask: Ask) -> None:
        self._runtime, self._ask = runtime, ask
        self._call_id = new_id()
        keys = runtime.keys.known(ask.claims.tenant_id)
        try:
            self._plan(keys, datetime.now(UTC))
        except ChatAPIError as error:
            now = self._keys_instead(keys, error)
            if now == keys:
                raise
            self._plan(now, datetime.now(UTC))

    def _keys_instead(self, keys: OwnKeys, error: ChatAPIError) -> OwnKeys:
        """The keys as they are, where with others the call might be planned: no admission will tell."""
        if isinstance(error, InvalidRequest) and not keys:
            return keys
        try:
            return self._runtime.keys.read(self._runtime.database, self._ask.claims.tenant_id)
        except Unavailable:
            return keys

    def _plan_anew(self, outdated: Outdated) -> None:
        """With the keys and the prices that hold."""
        runtime = self._runtime
        runtime.keys.learn(self._ask.claims.tenant_id, outdated.keys)
        if runtime.prices.good_until <= outdated.now:
            price_overrides.load(runtime)
        self._plan(outdated.keys, outdated.now)

    def _plan(self, keys: OwnKeys, at: datetime) -> None:
        runtime, ask = self._runtime, self._ask
        self.plan = plan(runtime, ask.endpoint, ask.request, ask.claims.tenant_id, keys, at)
        first = self.plan.candidates[0]
        self.admission = self._asking = Admission(
            call_id=self._call_id,
            claims=ask.claims,
            worker_id=runtime.running.worker_id,
            endpoint=ask.endpoint,
            model=self.plan.model,
            upstream=first.upstream.name,
            need=self.plan.need(),
            deadline_s=runtime.settings.call_deadline_s,
            key=ask.key,
            sent_model=first.model,
            planned=self.plan.relies_on,
        )

    def submit(self) -> Decision:
        """Ask, with the prompt counted where only its bytes are in the way.

        Raises:
            InvalidRequest: the client has left, or as `admit`.
            Unavailable: as `admit`.
        """
        if self._ask.client is not None and self._ask.client.gone:
            raise InvalidRequest("The client left before its call was admitted", status=499)
        for _ in range(MOST_PLANS):
            decision = self._submit()
            if not isinstance(decision, Outdated):
                return decision
            self._plan_anew(decision)
        raise Unavailable("Keys or prices are being changed just now. Please try again.")

    def _submit(self) -> Decision:
        decision = _submit(self._runtime, self._asking)
        if not self._asking.need.loose or not _bytes_in_the_way(decision):
            return decision
        self._asking = self.admission._replace(need=self.plan.counted(self.admission.need))
        return _submit(self._runtime, self._asking)


def _granted(runtime: Runtime, application: Application) -> Grant:
    admission = application.admission
    decision = runtime.turns.take(admission.claims, application.submit)
    if isinstance(decision, Denial):
        raise QuotaDenied(decision)
    if isinstance(decision, Repeat):
        raise KeyTaken(decision)
    if decision is Refusal.UNKNOWN_ACCESS_TOKEN:
        raise UnknownAccessToken
    if decision is Refusal.MODEL_NOT_ALLOWED:
        problem = f"You are not allowed to use the model `{admission.model}`."
        raise InvalidRequest(problem, code="model_not_found", status=403)
    if decision is Refusal.UNPRICED:
        raise InvalidRequest("Cost is limited here, and the price of this model is not known.", param="model")
    if not isinstance(decision, Grant):
        raise Unavailable("This worker is not ready to take calls. Please try again.")
    return decision


def _submit(runtime: Runtime, admission: Admission) -> Decision:
    """Ask once; a lease that ran out (the process was suspended, the database away) is renewed and asked again."""
    decision = runtime.writer.submit(admission)
    if decision is Refusal.LEASE_EXPIRED:
        leases.renew(runtime.database, admission.worker_id)
        decision = runtime.writer.submit(admission)
    return decision


def _bytes_in_the_way(decision: Decision) -> bool:
    """Whether a shorter prompt could fit: tokens or cost are what is short, and the limit is not used up without it.

    Also before waiting for holds: the counted prompt may fit beside them.
    """
    if not isinstance(decision, Denial):
        return decision is Refusal.COUNT_FIRST
    limit = decision.standing.limit
    return limit.metric is not Metric.REQUESTS and decision.standing.used < limit.value
