"""Items as a worker owes them to its ledger, for tests of the journal."""

from __future__ import annotations

from datetime import UTC, datetime

from chatapi.domain.calls import Abandonment, Admission, AttemptState, CallState, Charge, HeldCall, Settlement
from chatapi.domain.limits import Need, Price
from chatapi.domain.principals import Claims
from chatapi.domain.usage import Usage, UsageSource

OURS, THEIRS = "01a1fce8-ours", "01a1fce8-theirs"  # ids of installations
CLAIMS = Claims("tenant", "user", "jti")
ADMITTED_AT = datetime(2026, 11, 20, 23, 59, 59, 999_999, tzinfo=UTC)
DEADLINE_AT = datetime(2026, 11, 21, 0, 14, 59, 999_999, tzinfo=UTC)


def held_call(call_id: str, prompt_bound: int = 100) -> HeldCall:
    return HeldCall(
        call_id=call_id,
        claims=CLAIMS,
        worker_id="worker",
        endpoint="/v1/chat/completions",
        model="tiny “quoted” もちろん\n",
        upstream="compatible",
        day="2026-11-20",
        prompt_bound=prompt_bound,
        completion_granted=50,
        cost_bound=7,
        admitted_at=ADMITTED_AT,
        deadline_at=DEADLINE_AT,
    )


def settlement(call_id: str, upstream_id: str | None = "chatcmpl-1", prompt_bound: int = 100) -> Settlement:
    charge = Charge(answered=True, usage=Usage(11, 3, 5, 2, UsageSource.UPSTREAM), cost=6)
    call = held_call(call_id, prompt_bound)
    return Settlement(call, CallState.SETTLED, charge, "completed", AttemptState.ANSWERED, upstream_id)


def abandonment(call_id: str) -> Abandonment:
    need = Need(prompt_bound=100, completion_wanted=50, completion_least=16, choices=2, loose=True, price=Price(3, 9))
    return Abandonment(Admission(call_id, CLAIMS, "worker", "/api", "tiny", "compatible", need, 900.0))


def call_id_of(item: Settlement | Abandonment) -> str:
    return item.admission.call_id if isinstance(item, Abandonment) else item.call.call_id
