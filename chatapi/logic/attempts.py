"""The attempts of an admitted call: one upstream after the other, until one begins to answer.

Every attempt is written before it is sent, the first one with the admission. What becomes of each stands in its row;
one whose end nobody knows is shown as at risk, and the call is still charged once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import structlog

from chatapi.domain.calls import AttemptState
from chatapi.errors import Unavailable, UpstreamError, UpstreamRefused, UpstreamResting
from chatapi.logic.admission import Admitted
from chatapi.logic.plans import Candidate
from chatapi.logic.runtime import Runtime
from chatapi.storage.attempts import begin_next
from chatapi.upstream.upstream import is_fault_of_the_request, is_refusal_of_the_key

T = TypeVar("T")

log = structlog.get_logger()


def first_answer(runtime: Runtime, admitted: Admitted, ask: Callable[[Candidate], T]) -> T:
    """Ask the candidates in turn, each at most once.

    Args:
        runtime: what to work with.
        admitted: the call; its `candidate` is the one that is asked now.
        ask: sends the call to a candidate, and returns when its answer has begun, or is whole.

    Raises:
        UpstreamError: as the last one that was asked failed. Whether any of them may have run it, says
            `admitted.call.at_risk`.
    """
    upstreams, model = runtime.upstreams, admitted.plan.model
    budget = upstreams.budget if admitted.candidate.own is None else upstreams.own_budget
    budget.begin()
    fault: UpstreamError | None = None
    for number, candidate in enumerate(admitted.plan.candidates[: upstreams.most_attempts], 1):
        upstream = candidate.upstream
        if upstream.rests_s(model, candidate.own):
            continue
        if fault is not None and not budget.spend():
            break
        if not upstream.take(model, candidate.own):
            continue
        if number > 1 and not _begin(runtime, admitted, candidate, fault):
            break
        try:
            answer = ask(candidate)
        except UpstreamError as error:
            fault = _as_whose_key_it_was(candidate, error)
            if not _goes_on(admitted, candidate, error):
                break
        else:
            upstream.answered(model, candidate.own)
            return answer
    raise fault or UpstreamResting(1.0)


def _goes_on(admitted: Admitted, candidate: Candidate, error: UpstreamError) -> bool:
    """Whether another may be asked after this failure, of which the call and the upstream now know."""
    call, upstream, model = admitted.call, candidate.upstream, admitted.plan.model
    call.at_risk = call.at_risk or error.may_have_run
    if call.stop_reason is not None:  # it was cut off from here
        return False
    if error.began:
        upstream.answered(model, candidate.own)
        return False
    upstream.failed(model, error, candidate.own)
    return not is_fault_of_the_request(error)


def _as_whose_key_it_was(candidate: Candidate, error: UpstreamError) -> UpstreamError:
    """A tenant whose own key is refused is told so."""
    if candidate.own is None or not is_refusal_of_the_key(error):
        return error
    return UpstreamRefused(f"{candidate.upstream.name} refused your tenant's own key for it", status=error.status)


def _begin(runtime: Runtime, admitted: Admitted, candidate: Candidate, fault: UpstreamError | None) -> bool:
    """Write the next attempt; False when it may not be sent."""
    call = admitted.call
    unknown = fault is not None and fault.may_have_run
    last = AttemptState.UNKNOWN if unknown else AttemptState.REFUSED
    number, upstream = call.attempt + 1, candidate.upstream.name
    try:
        if not begin_next(runtime.database, call.held, number, upstream, candidate.model, last=last):
            return False
    except Unavailable:
        return False
    call.begin_attempt(number, upstream, candidate.model)
    admitted.candidate = candidate
    log.warning("upstream_fallback", call=call.held.call_id, attempt=number, upstream=upstream)
    return True
