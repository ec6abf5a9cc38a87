"""`/v1/me` as operations: what users may know of themselves."""

from __future__ import annotations

from chatapi.domain.calls import AttemptState, CallState
from chatapi.domain.effective_limits import LimitSource
from chatapi.domain.limits import DenialKind, Metric, Scope
from chatapi.domain.principals import Role
from chatapi.domain.usage import UsageSource
from chatapi.domain.windows import Window
from chatapi.endpoint.dialects import Dialect
from chatapi.endpoint.me import DEFAULT_CALLS, LONGEST_MODEL, MOST_CALLS
from chatapi.endpoint.openapi.operations import operation, query
from chatapi.endpoint.openapi.pieces import (
    JSON,
    Piece,
    array,
    boolean,
    integer,
    nullable,
    obj,
    one_of_words,
    reply,
    schema,
    string,
)
from chatapi.endpoint.openapi.refusals import REQUEST_ID, refused
from chatapi.logic.explain import KINDS
from chatapi.logic.me import MOST_DAYS

TAG = "Me"
DAY = r"^\d{4}-\d\d-\d\d$"
INSTANT = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?Z$"
CURSOR = r"^[\w-]{22}$"
AN_ID = "01a1f93a-1444-79b4-8cfc-ed5d93e3721b"
MONEY = "Nano-dollars; null where it is not known, which is not the same as nothing."
FIGURES = ("prompt_tokens", "cached_tokens", "completion_tokens", "reasoning_tokens", "total_tokens")


def paths() -> Piece:
    """The routes."""
    return {
        "/v1/me": {"get": _who()},
        "/v1/me/usage": {"get": _usage()},
        "/v1/me/calls": {"get": _calls()},
        "/v1/me/calls/{call_id}": {"get": _call()},
    }


def schemas() -> Piece:
    """What they answer."""
    call = _call_fields()
    page = {"object": {"const": "list"}, "data": array(schema("Call"), least=0)}
    page |= {
        "has_more": boolean("Whether there are older ones. A page before them may have few calls, or none."),
        "after": nullable(string("Where the next page begins.", pattern=CURSOR)),
        "calls_since": nullable(_day("Calls of earlier days may have been deleted.")),
    }
    usage = {"object": {"const": "list"}, "from": _day(), "to": _day(), "timezone": string("The tenant's.")}
    usage |= {"data": array(schema("DayOfUsage"), least=0), "total": schema("Figures")}
    return {
        "Me": _me(),
        "MyLimit": _limit(),
        "Usage": _whole(usage),
        "DayOfUsage": _whole({"day": _day(), "model": string()} | _figures()),
        "Figures": _whole(_figures()),
        "Calls": _whole(page),
        "Call": _whole(call),
        "ExplainedCall": _whole(call | _explained_fields()),
        "Denial": _denial(),
        "ExplainedDenial": _explained_denial(),
        "Explained": {"anyOf": [schema("ExplainedCall"), schema("ExplainedDenial")]},
    }


def _whole(properties: Piece, description: str = "") -> Piece:
    """An object that has all of these properties and no other."""
    return obj(" ".join(properties), properties, description, open=False)


def _day(description: str = "") -> Piece:
    return string(description or "A local day of the tenant's.", pattern=DAY)


def _instant(description: str) -> Piece:
    return string(description, pattern=INSTANT)


def _tokens() -> Piece:
    return {name: integer() for name in FIGURES}


def _figures() -> Piece:
    figures = {"requests": integer("Answered calls.")} | _tokens()
    return figures | {"cost_nanodollars": nullable(integer(MONEY)), "unpriced_calls": integer("Of unknown cost.")}


def _me() -> Piece:
    patterns = nullable(array(string(), "Patterns, of which one must fit; null: every model.", least=0))
    token = {
        "id": string("Its `jti`."),
        "name": nullable(string("That was given to it; null for the one of `POST /token`.")),
        "issued_at": _instant("When it was issued."),
        "expires_at": _instant("Until when it is valid."),
    }
    return _whole(
        {
            "object": {"const": "me"},
            "user_id": string("As in the paths below `/admin`."),
            "username": string(),
            "tenant_id": string("As in the paths below `/admin`."),
            "tenant": string(),
            "role": one_of_words(list(Role)),
            "timezone": string("The tenant's: its days and months are those of its limits and usage."),
            "today": _day(),
            "access_token": _whole(token),
            "limits": array(schema("MyLimit"), "All that concern this access token, user and tenant.", least=0),
            "models": _whole(
                {"tenant": patterns, "user": patterns, "access_token": patterns},
                "A model must be allowed by all. `/v1/models` lists them.",
            ),
        }
    )


def _limit() -> Piece:
    amount = "Requests, tokens or nano-dollars, as `metric` says"
    return _whole(
        {
            "scope": one_of_words(list(Scope)),
            "metric": one_of_words(list(Metric)),
            "window": one_of_words(list(Window)),
            "model": nullable(string("Of one model; null: of all together.")),
            "value": nullable(integer(f"{amount}; null: unlimited, and somebody said so.")),
            "source": one_of_words(list(LimitSource), "Set for this scope, for each user of the tenant, or for all."),
            "granted": integer("How much of the value was granted for the window that is open only."),
            "used": integer(f"{amount}."),
            "held": integer("Set aside for calls in flight."),
            "left": nullable(integer("Neither used nor held.")),
            "resets_at": nullable(_instant("When the window ends; null where what is held is limited, at once.")),
            "resets_after_s": nullable(integer("Seconds until then.", 1)),
        }
    )


def _call_fields() -> Piece:
    usage = {"source": one_of_words(list(UsageSource))} | _tokens()
    return {
        "object": {"const": "call"},
        "id": string("Time-ordered."),
        "state": one_of_words(list(CallState)),
        "endpoint": string("The route."),
        "model": string("As the ledger names it; no alias."),
        "upstream": string("Which was asked last."),
        "access_token": string("The `jti` of the access token."),
        "day": _day("The day in whose windows it counts."),
        "admitted_at": _instant("When it was admitted."),
        "ended_at": nullable(_instant("When what became of it was written.")),
        "ended": nullable(string("Why it ended, in a word.")),
        "answered": boolean("Whether it counts as a request."),
        "usage": _whole(usage, "What was charged, and who says so."),
        "cost_nanodollars": nullable(integer(MONEY)),
    }


def _explained_fields() -> Piece:
    amount = _whole({"requests": integer(), "tokens": integer(), "cost_nanodollars": nullable(integer(MONEY))})
    counter = {
        "scope": one_of_words(list(Scope)),
        "window": one_of_words(list(Window)),
        "window_key": nullable(string("The day, month or minute (UTC).")),
        "model": nullable(string()),
        "held": amount,
        "charged": {"description": "Null while it is held.", "anyOf": [amount, {"type": "null"}]},
    }
    bound = {name: integer() for name in ("prompt_tokens", "completion_tokens", "total_tokens")}
    bound["cost_nanodollars"] = nullable(integer(MONEY))
    each = _whole({kind: nullable(integer()) for kind in KINDS}, "By kind; null: no price.")
    price = {
        "source": string("`configuration`, or the price list."),
        "since": nullable(string(pattern=DAY)),
        "nanodollars_per_million_tokens": each,
        "adds_up": boolean("Whether its tokens at these prices make its cost."),
    }
    state = {"state": one_of_words(list(CallState)), "at": _instant("When."), "late": boolean("After it had expired.")}
    said = "As it was when the call was admitted; null where nobody knows it now."
    return {
        "username": string(),
        "tenant": string(),
        "deadline_at": _instant("When it had to end."),
        "bound": _whole(bound, "The most that it could use: what was held."),
        "counters": array(_whole(counter), "In which it was held."),
        "price": {"description": said, "anyOf": [_whole(price), {"type": "null"}]},
        "attempts": array(_attempt(), least=0),
        "states": array(_whole(state)),
        "sentences": array(string(), "The same for people."),
    }


def _attempt() -> Piece:
    return _whole(
        {
            "number": integer(least=1),
            "upstream": string(),
            "model": nullable(string("What that upstream calls the model, where it is known.")),
            "state": one_of_words(list(AttemptState)),
            "at_risk": boolean("Whether the model may have run, although nobody knows."),
            "started_at": _instant("When it was sent."),
            "ended_at": nullable(_instant("When it had ended.")),
            "upstream_id": nullable(string("The upstream's own id of it.")),
        }
    )


def _denial() -> Piece:
    return _whole(_denial_fields(), "Which limit denied the call.")


def _explained_denial() -> Piece:
    more = {
        "object": {"const": "denial"},
        "denied_at": _instant("When it was decided."),
        "sentences": array(string(minLength=1), "The same for people."),
    }
    return _whole(_denial_fields() | more, "A denial whose id was asked for.")


def _denial_fields() -> Piece:
    limit = {
        "scope": one_of_words(list(Scope)),
        "metric": one_of_words(list(Metric)),
        "window": one_of_words(list(Window)),
        "model": nullable(string("Of one model; null: of all together.")),
        "value": integer("Requests, tokens or nano-dollars."),
        "granted": integer("How much of that was granted for the window that is open only."),
    }
    return {
        "id": string("By which it is explained again: the decision itself, signed.", pattern="^denial_[\\w-]+$"),
        "kind": one_of_words(list(DenialKind), "Used up, held by calls in flight, or more than is ever allowed."),
        "limit": _whole(limit),
        "used": integer(),
        "held": integer("Set aside for calls in flight."),
        "needed": integer("What this call would have needed, at least."),
        "resets_at": nullable(_instant("When the window ends; null for what is limited at once.")),
    }


def _query(name: str, description: str, piece: Piece, example: str) -> Piece:
    return query(name, description, piece, example) | {"required": False}


def _model() -> Piece:
    return _query("model", "Only this model.", string(minLength=1, maxLength=LONGEST_MODEL), "gpt-4o-mini")


def _answer(name: str, *statuses: int) -> Piece:
    answer = reply("It.", {JSON: schema(name)}, (REQUEST_ID,))
    return refused(Dialect.OPENAI, 401, 503, *statuses) | {"200": answer}


def _who() -> Piece:
    more = "What is unlimited is in no list, unless somebody said so."
    return operation(TAG, "read_me", "Who you are, your limits, and what is left of them", more, _answer("Me"))


def _usage() -> Piece:
    more = f"At most {MOST_DAYS} days. From roll-ups: it takes as long for a million calls as for one."
    made = operation(TAG, "read_my_usage", "What you were charged, by day and model", more, _answer("Usage"))
    first = _query("from", "The first day; else the first of the last one's month.", string(pattern=DAY), "2026-11-01")
    last = _query("to", "The last day; else today.", string(pattern=DAY), "2026-11-30")
    return made | {"parameters": [first, last, _model()]}


def _calls() -> Piece:
    more = "Nothing of what was said in them is kept. Go on with the `after` of a page while it `has_more`."
    made = operation(TAG, "list_my_calls", "Your calls, newest first", more, _answer("Calls"))
    limit = _query("limit", f"How many; {DEFAULT_CALLS} unless said.", integer("", 1, MOST_CALLS), str(DEFAULT_CALLS))
    after = _query("after", "The `after` of the page before.", string(pattern=CURSOR), "AaH5OhREebSM_O1dk-NyGw")
    state = _query("state", "Only calls in this state.", one_of_words(list(CallState)), CallState.SETTLED.value)
    return made | {"parameters": [limit, after, state, _model()]}


def _call() -> Piece:
    more = (
        "How it was bounded, which counters held it, each attempt, what it was charged at which price, and why. Or a "
        "denial of yours: its id, which `error.chatapi` and `x-chatapi-denial` of a 429 have, is the signed decision."
    )
    made = operation(TAG, "explain_my_call", "One of your calls, explained", more, _answer("Explained", 404))
    given = {"name": "call_id", "in": "path", "required": True, "description": "Its id.", "schema": string(minLength=1)}
    return made | {"parameters": [given | {"example": AN_ID}]}
