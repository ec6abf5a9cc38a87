"""Prices: what models cost now, and what operators say at run time of what they cost from an instant on."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from pydantic import Field, JsonValue

from chatapi.domain.actors import Actor
from chatapi.domain.principals import Role
from chatapi.endpoint.context import runtime
from chatapi.endpoint.resources import Resources
from chatapi.endpoint.shapes import Body, Instant, ListOf, Page, Query, Reply, Text
from chatapi.logic import price_overrides as logic
from chatapi.logic.pricing import prices_of

WORDS = (
    "As in `[[models.prices]]` of an upstreams file, but for `from`: dollars as texts, per million tokens (`prompt`, "
    "`completion`, `cached_prompt`, ...), per unit (`per_image`, `per_second`, ...) and `per_request`. Null: from then "
    "on the configured price holds again, or the list's."
)

resources = Resources("admin_prices", __name__)


class NewPrice(Body):
    """A price to be set."""

    model: Text = Field(description="The model itself, no alias.")
    price: dict[str, JsonValue] | None = Field(
        description=WORDS, examples=[{"prompt": "0.15", "cached_prompt": "0.075", "completion": "0.60"}]
    )
    begins_at: Instant | None = Field(
        None, description="A whole second at least 60 s ahead. Absent: the first such instant."
    )


class PriceRecord(Reply):
    """A price that was set."""

    id: str
    model: str
    begins_at: Instant
    price: dict[str, Any] | None = Field(description=WORDS)
    made_at: Instant


class PriceQuery(Page):
    """Which prices."""

    model: Text | None = None


class CurrentPrice(Reply):
    """What a model costs at one upstream now: short prompts, standard service tier; null where nobody knows."""

    model: str
    upstream: str
    prompt: int | None = Field(description="Nano-dollars per million tokens, as the next two.")
    cached_prompt: int | None
    completion: int | None
    source: str | None = Field(description="`override`, `configuration`, or `genai-prices` and its version.")
    since: str | None = Field(description="The first day (UTC) of this price, where its source says so.")


class ModelQuery(Query):
    """Which model."""

    model: Text = Field(description="A model or an alias.")


@resources.operation(
    "GET",
    "/admin/prices",
    needs=Role.OPERATOR,
    summary="List price overrides",
    description="By model and instant, those that are over among them.",
)
def list_prices(actor: Actor, query: PriceQuery) -> ListOf[PriceRecord]:
    """A page of them."""
    found = logic.page_of_overrides(runtime(), model=query.model, after=query.read_after(), most=query.limit + 1)
    keys = {each.id: logic.key_of(each) for each in found}
    return query.page(map(_record, found), key=lambda record: keys[record.id])


@resources.operation(
    "GET",
    "/admin/prices/current",
    needs=Role.OPERATOR,
    summary="What a model costs now",
    description="At each upstream that serves it, and where that is from.",
)
def current_prices(actor: Actor, query: ModelQuery) -> ListOf[CurrentPrice]:
    """One for each upstream."""
    rows = prices_of(runtime(), query.model, datetime.now(UTC))
    return ListOf[CurrentPrice](data=[CurrentPrice.model_validate(row) for row in rows], has_more=False, after=None)


@resources.operation(
    "POST",
    "/admin/prices",
    needs=Role.OPERATOR,
    status=201,
    summary="Set a model's price",
    description=(
        "From an instant on, for all upstreams and service tiers, until another one is set. Calls cost what held when "
        "they were admitted: nothing is said of the past, nor of the next 60 s, within which every process hears of it."
    ),
)
def set_price(actor: Actor, body: NewPrice) -> PriceRecord:
    """Set it."""
    return _record(logic.set_price(runtime(), actor, body.model, body.price, body.begins_at))


@resources.operation(
    "DELETE",
    "/admin/prices/{price_id}",
    needs=Role.OPERATOR,
    summary="Take back a price that has not begun",
    description="As long as it is at least 60 s ahead. One that has begun is ended by setting another one, or null.",
)
def remove_price(actor: Actor, price_id: str) -> None:
    """Remove it."""
    logic.remove_price(runtime(), actor, price_id)


def _record(override: logic.PriceOverride) -> PriceRecord:
    return PriceRecord(
        id=override.id,
        model=override.model,
        begins_at=override.begins_at,
        price=None if override.price is None else dict(override.price),
        made_at=override.made_at,
    )
