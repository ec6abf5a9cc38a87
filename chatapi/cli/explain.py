"""`chatapi explain`: how a call was bounded, held, tried and charged, and why it ended."""

from __future__ import annotations

from typing import cast

import click
import orjson

from chatapi.cli.context import with_runtime
from chatapi.cli.output import EXIT_CODES
from chatapi.logic import denials, price_overrides
from chatapi.logic import explain as logic
from chatapi.logic.explain import Record
from chatapi.logic.runtime import Runtime
from chatapi.logic.sentences import sentences


@click.command(epilog=EXIT_CODES)
@click.argument("call")
@click.option("--json", "as_json", is_flag=True, help="A JSON object, with costs in nano-dollars.")
@with_runtime
def explain(runtime: Runtime, call: str, *, as_json: bool) -> None:
    """Explain the call of the id CALL, of whichever user: how it was bounded, which counters it held, each attempt,
    what it was charged at which price, and why it ended. Or a denial, by the id that was given with it.

    The id stands in the log, in the ledger, and in what upstreams were sent as X-ChatAPI-Call-Id. docs/explain.md says
    what each part means.
    """
    if call.startswith(denials.PREFIX):
        _show(denials.read_denial(runtime.settings.secret, call).as_record(), as_json=as_json)
        return
    price_overrides.load(runtime)
    found = logic.any_call(runtime, call)
    _show(logic.as_record(found) | {"sentences": sentences(found)}, as_json=as_json)


def _show(record: Record, *, as_json: bool) -> None:
    if as_json:
        click.echo(orjson.dumps(record, option=orjson.OPT_INDENT_2).decode())
        return
    for sentence in cast("list[str]", record["sentences"]):
        click.echo(sentence)
