"""An explained call in plain sentences, for people."""

from __future__ import annotations

from chatapi.domain.calls import AttemptState, CallState
from chatapi.domain.counters import CounterKey
from chatapi.domain.money import in_dollars
from chatapi.domain.usage import UsageSource
from chatapi.domain.windows import KEPT, Window
from chatapi.logic.explain import Explained, per_million, utc
from chatapi.storage.explain import Attempt

WHY = {
    "completed": "The upstream answered to the end.",
    "upstream_error": "No upstream answered to the end.",
    "client_gone": "The client left before the end.",
    "revoked": "Its user, tenant or access token was disabled or revoked while it ran.",
    "deadline": "It was past its deadline.",
    "shutdown": "The gateway was shut down while it ran.",
    "aborted": "A fault of the gateway's own ended it.",
    "expired": "Its worker died or its deadline passed, and nobody saw its end.",
    "abandoned": "The database did not say whether its admission was written, so it was never sent.",
}
SOURCES = {
    UsageSource.UPSTREAM: "as the upstream reported them",
    UsageSource.COUNTED: "counted here, from what was sent and relayed, because the upstream reported nothing",
    UsageSource.HOLD: "its whole hold, because nobody knows what it used (what is unknown is never free)",
    UsageSource.NONE: "because it never ran",
}


def sentences(call: Explained) -> list[str]:
    """What happened, in the order in which it did."""
    held = call.kept.held
    asked = f"At {utc(held.admitted_at)} {call.username} of {call.tenant} asked {held.model} through {held.endpoint}."
    told = [asked, *_bound(call), _held_in(call)]
    told += [_attempt(call, attempt) for attempt in call.attempts]
    return [*told, *_end(call), *_charge(call)]


def _bound(call: Explained) -> list[str]:
    held, cost = call.kept.held, call.cost_bound
    at_most = "of unknown cost" if cost is None else f"at most {in_dollars(cost)}"
    tokens = held.prompt_bound + held.completion_granted
    return [
        f"Its prompt could have {_count(held.prompt_bound, 'token')} at most, and it was granted a completion of "
        f"{_count(held.completion_granted, 'token')}: 1 request and {_count(tokens, 'token')} were held, {at_most}."
    ]


def _held_in(call: Explained) -> str:
    kept = dict.fromkeys(_window(key) for key in call.counters if not _is_named(key))
    scopes = dict.fromkeys(_whose(key) for key in call.counters if not _is_named(key))
    named = [f"{_whose(key)} of {_window(key)}" for key in call.counters if _is_named(key)]
    besides = f" Because of limits also in: {'; '.join(named)}." if named else ""
    return f"It was held in the counters of {' and '.join(kept)}: {', '.join(scopes)}.{besides}"


def _is_named(key: CounterKey) -> bool:
    """Whether it is kept only because a limit names it."""
    return bool(key.model) or key.window not in KEPT


def _whose(key: CounterKey) -> str:
    return f"its {key.scope.replace('_', ' ')}'s"


def _window(key: CounterKey) -> str:
    when = "calls at once" if key.window == Window.AT_ONCE else f"the {key.window} {key.window_key}"
    return when + (f" for {key.model}" if key.model else "")


def _attempt(call: Explained, attempt: Attempt) -> str:
    name = attempt.model
    known_as = f", which knows the model as {name}," if name != call.kept.held.model else ""
    began = f"Attempt {attempt.number} was sent to {attempt.upstream}{known_as} at {utc(attempt.started_at)}"
    ended = "" if attempt.ended_at is None else f" at {utc(attempt.ended_at)}"
    if call.at_risk(attempt):
        return f"{began}; how it ended is not known: the model may have run, and the upstream may bill it."
    if attempt.state is AttemptState.SENT:
        return f"{began}, and is under way."
    if attempt.state is AttemptState.REFUSED:
        return f"{began}; it failed or was refused{ended}, and the model did not run."
    return f"{began}, and was answered; that ended{ended}."


def _end(call: Explained) -> list[str]:
    kept, told = call.kept, list[str]()
    if kept.state is CallState.HELD:
        return [f"It is in flight, and nothing has been charged yet. It must end by {utc(kept.held.deadline_at)}."]
    rewritten = kept.expired_at is not None and kept.expired_at == kept.ended_at
    if kept.expired_at is not None and not rewritten:
        told.append(f"It expired at {utc(kept.expired_at)}, charged at its hold.")
    if kept.ended_at is not None:
        late = ", late" if kept.expired_at is not None else ""
        told.append(f"It was {kept.state.value} at {utc(kept.ended_at)}{late}.")
    if rewritten:
        told.append("The database had lost its row, which was written again from its settlement.")
    return [*told, WHY.get(kept.ended or "", f"It ended as {kept.ended}.")]


def _charge(call: Explained) -> list[str]:
    kept = call.kept
    if kept.state is CallState.HELD:
        return []
    if kept.state is CallState.RELEASED:
        return ["It was charged nothing: what the upstream never ran costs nothing."]
    usage, request = kept.charge.usage, "1 request" if kept.charge.answered else "no request"
    told = (
        f"It was charged {request} and {_count(usage.total_tokens, 'token')}, {SOURCES[usage.source]}: "
        f"{usage.prompt_tokens:,} of the prompt ({usage.cached_tokens:,} cached) and "
        f"{usage.completion_tokens:,} of the completion ({usage.reasoning_tokens:,} reasoning)."
    )
    return [told, *_cost(call)]


def _cost(call: Explained) -> list[str]:
    cost, price = call.kept.charge.cost, call.price
    if cost is None:
        return ["What it cost is not known, because something that it used has no price; that is not the same as free."]
    if price is None:
        unknown = "By which price is not known here: its upstream or price is not configured."
        return [f"It cost {in_dollars(cost)}. {unknown}"]
    since = "" if price.since is None else f" since {price.since}"
    each = [f"{in_dollars(value)} {kind}" for kind, value in per_million(call).items() if value is not None]
    told = [f"It cost {in_dollars(cost)}. A million tokens cost: {', '.join(each)} ({price.source}{since})."]
    if not call.adds_up:
        told.append(_differs(call))
    return told


def _differs(call: Explained) -> str:
    if call.kept.charge.usage.source is UsageSource.HOLD:
        return "Its cost is that of its hold: the most that it could have cost, by the dearest of these prices."
    return (
        "Its tokens alone do not make this sum: it used something else that has a price, or was answered in another "
        "service tier, or its prices have been changed since."
    )


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"
