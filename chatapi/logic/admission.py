"""Admission: bound a call from above, have the ledger hold the bound, and say what may be sent upstream.

When only the prompt's byte bound is in the way, the prompt is counted with the model's own vocabulary and asked again;
when only calls in flight are in the way, the call waits its turn.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from chatapi.domain.calls import Admission, Charge, Decision, Grant, Refusal
from chatapi.domain.extras import Extras
from chatapi.domain.idempotency import IdempotencyKey, Repeat
from chatapi.domain.limits import Denial, Metric, Need
from chatapi.domain.model_request import ModelRequest
from chatapi.domain.price_book import PriceBook
from chatapi.domain.principals import Claims
from chatapi.domain.usage import Usage
from chatapi.errors import InvalidRequest, KeyTaken, QuotaDenied, Unavailable, UnknownAccessToken
from chatapi.logic.kept_replies import ReplyKeeper
from chatapi.logic.pricing import cost, priced, units_of
from chatapi.logic.running import Client, RunningCall
from chatapi.logic.runtime import Runtime
from chatapi.storage import leases
from chatapi.storage.ledger import new_id
from chatapi.upstream import tokens
from chatapi.upstream.upstream import Upstream


@dataclass(frozen=True, slots=True)
class Ask:
    """A call as an endpoint understands it: who asks, through which endpoint, for what; who waits for the answer,
    where the server can tell; and by which key it may be asked for again."""

    claims: Claims
    endpoint: str
    request: ModelRequest
    client: Client | None = None
    key: IdempotencyKey | None = None


@dataclass(frozen=True, slots=True)
class Candidate:
    """An upstream that may answer a call, what it would be asked, and the name that it knows the model by."""

    upstream: Upstream
    request: ModelRequest
    model: str


@dataclass(slots=True)
class Admitted:
    """An admitted call: its hold is in the ledger, and this is what to send, and where.

    Args:
        grant: the ledger's decision.
        call: as it runs.
        candidates: who may answer it, in the order in which they are to be tried.
        candidate: the one of them that is asked now.
        prices: what models cost.
        units: what the call is measured in besides tokens, at most.
        wanted: tokens of completion that were asked for, all choices together.
        keeper: keeps the reply for repeats, where the client gave a key.
    """

    grant: Grant
    call: RunningCall
    candidates: tuple[Candidate, ...]
    candidate: Candidate
    prices: PriceBook
    units: Extras
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
        provider = self.candidate.upstream.prices_of
        return Charge(answered, usage, cost(self.prices, self.call.held, provider, usage, self.units))

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
        Unavailable: the database cannot answer; nothing is held.
    """
    model = runtime.upstreams.resolve(ask.request.model)
    candidates = _candidates(runtime, ask.request, model)
    first = candidates[0]
    units = units_of(ask.endpoint, first.request)

    def need(prompt_bound: int | None = None, *, loose: bool = False) -> Need:
        bound = first.request.need(_default_cap(runtime, model), prompt_bound, loose=loose)
        providers = {candidate.upstream.prices_of for candidate in candidates}
        return priced(runtime.prices, model, providers, bound, units)

    admission = Admission(
        call_id=new_id(),
        claims=ask.claims,
        worker_id=runtime.running.worker_id,
        endpoint=ask.endpoint,
        model=model,
        upstream=first.upstream.name,
        need=need(loose=tokens.has_vocabulary(model)),
        deadline_s=runtime.settings.call_deadline_s,
        key=ask.key,
    )
    runtime.running.enter(admission.call_id)
    try:
        grant = _granted(runtime, ask, admission, lambda: need(_counted(first.request, admission)))
    except BaseException:
        runtime.running.leave(admission.call_id)
        raise
    call = RunningCall(grant.call, runtime.writer, runtime.running, admission.deadline_s)
    if ask.client is not None:
        call.watch(ask.client)
    keeper = None if ask.key is None else ReplyKeeper(runtime, grant.call, ask.key)
    return Admitted(grant, call, candidates, first, runtime.prices, units, admission.need.completion_wanted, keeper)


def _candidates(runtime: Runtime, request: ModelRequest, model: str) -> tuple[Candidate, ...]:
    """Who may answer, in the order in which to try them: of those that can be asked this at all, those that are asked
    in the same form as the first, because the hold covers that one."""
    found, problem = list[Candidate](), None
    described = runtime.upstreams.models.get(model)
    request = request.of_model(
        model,
        thinks=described.reasons if described else None,
        largest_cap=described.largest_completion_tokens if described else None,
    )
    for upstream in runtime.upstreams.serving(model):
        try:
            found.append(Candidate(upstream, request.at(upstream.kind, model), upstream.name_of(model)))
        except InvalidRequest as error:
            problem = error
    if not found and problem is not None:
        raise problem
    return tuple(candidate for candidate in found if candidate.request.form == found[0].request.form)


def _default_cap(runtime: Runtime, model: str) -> int:
    """The completion cap of a call that asks for none, in tokens per choice."""
    described = runtime.upstreams.models.get(model)
    configured = described.default_completion_tokens if described is not None else None
    return configured or runtime.settings.default_completion_tokens


def _granted(runtime: Runtime, ask: Ask, admission: Admission, counted: Callable[[], Need]) -> Grant:
    asking = admission

    def submit() -> Decision:
        nonlocal asking
        if ask.client is not None and ask.client.gone:
            raise InvalidRequest("The client left before its call was admitted", status=499)
        decision = _submit(runtime, asking)
        if not asking.need.loose or not _bytes_in_the_way(decision):
            return decision
        asking = admission._replace(need=counted())
        return _submit(runtime, asking)

    decision = runtime.turns.take(ask.claims, submit)
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


def _counted(request: ModelRequest, admission: Admission) -> int:
    """The prompt, counted by the model's own vocabulary, where that is less than its bytes."""
    return min(tokens.count_prompt(admission.model, request.prompt()), admission.need.prompt_bound)


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
