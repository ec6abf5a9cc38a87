"""What calls cost: the most that one can, before it is admitted; and what it did, when it is settled."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

from chatapi.domain.calls import HeldCall
from chatapi.domain.endpoints import ENDPOINTS
from chatapi.domain.extras import NOTHING_ELSE, OTHER, Extras, Unit
from chatapi.domain.limits import Need, Price
from chatapi.domain.model_names import searches
from chatapi.domain.model_request import ModelRequest
from chatapi.domain.prices import ModelPrice, per_million
from chatapi.domain.token_prices import TokenPrices
from chatapi.domain.usage import Usage
from chatapi.logic.runtime import Runtime


def units_of(endpoint: str, request: ModelRequest) -> Extras:
    """What a call is measured in besides tokens, at most."""
    known = ENDPOINTS.get(endpoint)
    match known and known.unit:
        case Unit.IMAGE:
            return Extras(images=request.units, image=_variant(request))
        case Unit.SECOND:
            return Extras(seconds=request.units)
        case Unit.CHARACTER:
            return Extras(characters=request.units)
    if request.body.get("web_search_options") is not None or searches(request.model):
        return Extras(web_searches=1)  # which no report of usage tells
    return NOTHING_ELSE


def priced(prices: Iterable[ModelPrice | None], need: Need, units: Extras) -> Need:
    """The need with the most that a token of it, and the call, can cost at any of these prices; without a price where
    one of them is unknown, or not known for this."""
    highest: Price | None = None
    completes = need.completion_wanted > 0
    for price in prices:
        if price is None:
            return need
        if units is NOTHING_ELSE:
            most = price.bound(need.prompt_bound, completes=completes)
        else:
            most = price.highest(units, prompt_bound=need.prompt_bound, completes=completes)
        if most is None:
            return need
        highest = most if highest is None else Price(*map(max, highest, most))
    return replace(need, price=highest)


def cost(price: ModelPrice | None, call: HeldCall, usage: Usage, units: Extras) -> int | None:
    """What a call cost in nano-dollars, at the price that held when it was admitted. None: nobody knows.

    What its reply used in a way that has no price is charged at the bound, where there is one: it is never free.
    """
    known = None
    if price is not None:
        measured = usage.extras if units is NOTHING_ELSE else _together(usage.extras, units)
        known = price.cost(usage, measured, usage.service_tier)
    return call.cost_bound if known is None else known


def prices_of(runtime: Runtime, name: str, at: datetime) -> list[dict[str, object]]:
    """What a million tokens of a model (or alias) cost at each upstream that serves it, in nano-dollars; None where
    nobody knows. Short prompts, standard service tier."""
    model = runtime.upstreams.resolve(name)
    rows = list[dict[str, object]]()
    for upstream in runtime.upstreams:
        if not upstream.serves(model):
            continue
        price = runtime.prices.price(model, upstream.prices_of, at)
        tokens = TokenPrices() if price is None else price.of_tokens()
        kinds = {"prompt": tokens.prompt, "cached_prompt": tokens.cached, "completion": tokens.completion}
        costs = {kind: per_million(each) for kind, each in kinds.items()}
        source = None if price is None else price.source
        since = None if price is None or price.since is None else price.since.isoformat()
        rows.append({"model": model, "upstream": upstream.name, **costs, "source": source, "since": since})
    return rows


def _together(extras: Extras, units: Extras) -> Extras:
    """What was reported, and of what was not the most that it can be."""
    return extras._replace(
        images=extras.images or units.images,
        image=units.image,
        seconds=extras.seconds or units.seconds,
        characters=extras.characters or units.characters,
        web_searches=extras.web_searches or units.web_searches,
    )


def _variant(request: ModelRequest) -> str:
    """Which images are asked for, as prices name them: by size and quality."""
    size, quality = request.body.get("size"), request.body.get("quality")
    if not isinstance(size, str):
        return OTHER
    return f"{size}/{quality}" if isinstance(quality, str) else size
