"""A metered call, from admission to settlement. This module owns the order of the steps; nothing else sends a call
upstream.

admit  →  call an upstream, with nothing locked; the next one where it fails  →  settle  →  answer
"""

from __future__ import annotations

from dataclasses import dataclass

from chatapi.domain.calls import Charge, Grant
from chatapi.domain.idempotency import COMPLETED
from chatapi.domain.limits import NOTHING, Standing
from chatapi.domain.usage import Usage
from chatapi.errors import UpstreamError
from chatapi.logic.admission import Admitted, Ask, admit
from chatapi.logic.attempts import first_answer
from chatapi.logic.counting import counted
from chatapi.logic.plans import Candidate
from chatapi.logic.running import RunningCall, Settling
from chatapi.logic.runtime import Runtime
from chatapi.logic.streams import MeteredStream
from chatapi.upstream.byte_stream import RelayedStream
from chatapi.upstream.parcel import pack
from chatapi.upstream.reply import UpstreamReply

__all__ = ["Answer", "Ask", "open_stream", "run"]


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer: the upstream's reply, its usage, and how the limits stand now. It may be given to the client when
    it is settled."""

    reply: UpstreamReply
    usage: Usage
    grant: Grant
    standings: tuple[Standing, ...]
    settling: Settling
    clamped: int | None = None
    """The completion cap, in tokens per choice, where a limit made it shorter than what was asked for."""


def run(runtime: Runtime, ask: Ask, *, relayed: bool = False) -> Answer:
    """Answer one call, whole. When this returns, its settlement is being written.

    Args:
        runtime: what to work with.
        ask: the call.
        relayed: whether the request's bytes are relayed; else the openai client asks.

    Raises:
        QuotaDenied, KeyTaken, UnknownAccessToken, Unavailable: it was not admitted, and nothing was sent.
        UpstreamError: the upstream failed; the call was released, or charged at its hold if the model may have run.
    """
    admitted = admit(runtime, ask)
    call = admitted.call

    def ask_one(candidate: Candidate) -> UpstreamReply:
        body = admitted.body(candidate)
        if relayed:
            parcel = pack(candidate.request, body, candidate.model)
            return candidate.upstream.relay(
                parcel, call_id=call.held.call_id, on_cancel=call.on_stop, own=candidate.own
            )
        return candidate.upstream.complete(body, call_id=call.held.call_id, on_cancel=call.on_stop, own=candidate.own)

    try:
        reply = first_answer(runtime, admitted, ask_one)
        charge = _charge(admitted, reply)
    except UpstreamError as error:
        _end_failed(call, error)
        raise
    except BaseException:
        call.settle_at_hold("aborted")
        raise
    if admitted.keeper is not None:
        admitted.keeper.keep(reply.body, reply.content_type, admitted.clamped)
    standings = tuple(standing.after(charge.amount, NOTHING) for standing in admitted.grant.found)
    settling = call.begin_to_settle(charge, COMPLETED, reply.upstream_id)
    return Answer(reply, charge.usage, admitted.grant, standings, settling, admitted.clamped)


def open_stream(runtime: Runtime, ask: Ask, *, relayed: bool = False) -> MeteredStream:
    """Admit a call and open its stream: what can be refused is refused here, before the first byte of a reply.

    Args and raises: as `run`.
    """
    admitted = admit(runtime, ask)
    call = admitted.call

    def open_one(candidate: Candidate) -> RelayedStream:
        body = admitted.body(candidate)
        if relayed:
            parcel = pack(candidate.request, body, candidate.model)
            return candidate.upstream.relay_stream(
                parcel, call_id=call.held.call_id, on_cancel=call.on_stop, own=candidate.own
            )
        return candidate.upstream.open(body, call_id=call.held.call_id, on_cancel=call.on_stop, own=candidate.own)

    try:
        stream = first_answer(runtime, admitted, open_one)
    except UpstreamError as error:
        _end_failed(call, error)
        raise
    except BaseException:
        call.settle_at_hold("aborted")
        raise
    return MeteredStream(admitted, stream)


def _charge(admitted: Admitted, reply: UpstreamReply) -> Charge:
    """Reported usage; else what was sent and got, counted; the hold if that may not be all."""
    if reply.usage is None and not admitted.request.countable:
        return Charge.at_hold(admitted.call.held, answered=True)
    return admitted.charge(reply.usage or counted(admitted, reply.counted_text, reply.extras), answered=True)


def _end_failed(call: RunningCall, error: UpstreamError) -> None:
    if error.may_have_run:
        call.settle_at_hold(call.stop_reason or "upstream_error")
    elif call.at_risk:
        call.settle_refused(call.stop_reason or "upstream_error")
    else:
        call.release("upstream_error")
