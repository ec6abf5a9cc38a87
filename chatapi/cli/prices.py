"""`chatapi models price`, `set-price`, `price-overrides`, `drop-price`: what models cost, and saying so at run time."""

from __future__ import annotations

from datetime import UTC, datetime

import click
import orjson

from chatapi.cli.context import with_runtime
from chatapi.cli.output import EXIT_CODES, show
from chatapi.domain.money import in_dollars
from chatapi.errors import InvalidInput
from chatapi.logic import price_overrides
from chatapi.logic.actors import command_actor
from chatapi.logic.explain import utc
from chatapi.logic.price_overrides import PriceOverride
from chatapi.logic.pricing import prices_of
from chatapi.logic.runtime import Runtime

KINDS = ("prompt", "cached_prompt", "completion")


@click.command("price", epilog=EXIT_CODES)
@click.argument("names", metavar="MODEL...", nargs=-1, required=True)
@click.option("--json", "as_json", is_flag=True, help="A JSON list; nano-dollars per million tokens, null is unknown.")
@with_runtime
def price(runtime: Runtime, names: tuple[str, ...], *, as_json: bool) -> None:
    """Show what a million tokens of models cost now, at each upstream that serves them, and where that is from."""
    price_overrides.load(runtime)
    rows = [row for name in names for row in prices_of(runtime, name, datetime.now(UTC))]
    if not as_json:
        rows = [
            row | {kind: "unknown" if row[kind] is None else in_dollars(int(str(row[kind]))) for kind in KINDS}
            for row in rows
        ]
    show(rows, ("model", "upstream", *KINDS, "source", "since"), as_json=as_json)
    if not rows:
        click.echo(f"No upstream that is configured here serves {' or '.join(names)}.", err=True)


@click.command("set-price", epilog=EXIT_CODES)
@click.argument("model")
@click.argument("words", metavar="[WORD=VALUE...]", nargs=-1)
@click.option(
    "--from", "begins_at", help="An instant at least 60 s ahead, as 2026-12-01T00:00:00Z; else the first such."
)
@click.option(
    "--none", "ends", is_flag=True, help="No override from then on: the configured price holds, or the list's."
)
@with_runtime
def set_price(runtime: Runtime, model: str, words: tuple[str, ...], begins_at: str | None, *, ends: bool) -> None:
    """Set the price of MODEL from an instant on, in every process, until another one is set.

    The words are those of [[models.prices]] in an upstreams file, in dollars: prompt=0.15 completion=0.60 (per million
    tokens), cached_prompt=0.075, per_request=0.01, ...; tables are written in JSON: 'per_image={"1024x1024": "0.04"}'.
    """
    if ends == bool(words):
        raise InvalidInput("Say what it costs, such as prompt=0.15 completion=0.60, or --none, and not both.")
    said = None if ends else dict(map(_word, words))
    begins = None if begins_at is None else _instant(begins_at)
    made = price_overrides.set_price(runtime, command_actor(), model, said, begins)
    what = "is not overridden" if ends else "has this price"
    click.echo(f"{model} {what} from {utc(made.begins_at)} on.", err=True)


@click.command("price-overrides", epilog=EXIT_CODES)
@click.option("--model", help="Only of this model.")
@click.option("--json", "as_json", is_flag=True, help="A JSON list.")
@with_runtime
def list_overrides(runtime: Runtime, model: str | None, *, as_json: bool) -> None:
    """List the prices that were set with set-price, or over HTTP, by model and instant."""
    rows = [_row(each) for each in price_overrides.page_of_overrides(runtime, model=model)]
    if not as_json:
        rows = [row | {"price": orjson.dumps(row["price"]).decode() if row["price"] else "none"} for row in rows]
    show(rows, ("model", "begins_at", "price", "made_at", "id"), as_json=as_json)


@click.command("drop-price", epilog=EXIT_CODES)
@click.argument("override_id", metavar="ID")
@with_runtime
def drop_price(runtime: Runtime, override_id: str) -> None:
    """Take back the price of this ID (price-overrides shows it), as long as it is at least 60 s ahead."""
    price_overrides.remove_price(runtime, command_actor(), override_id)
    click.echo("It was taken back.", err=True)


def _row(override: PriceOverride) -> dict[str, object]:
    return {
        "model": override.model,
        "begins_at": utc(override.begins_at),
        "price": override.price,
        "made_at": utc(override.made_at),
        "id": override.id,
    }


def _word(text: str) -> tuple[str, object]:
    name, is_word, value = text.partition("=")
    if not is_word:
        raise InvalidInput(f"{text!r} is no WORD=VALUE.")
    if not value.startswith(("{", "[")):
        return name, value
    try:
        return name, orjson.loads(value)
    except ValueError:
        raise InvalidInput(f"{name} is no JSON.") from None


def _instant(text: str) -> datetime:
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidInput(f"{text!r} is no instant such as 2026-12-01T00:00:00Z.") from None
    return instant if instant.tzinfo is not None else instant.replace(tzinfo=UTC)
