"""`chatapi explain`: how a call was bounded, held, tried and charged, and why it ended."""

from __future__ import annotations

import click
import orjson

from chatapi.cli.context import with_runtime
from chatapi.cli.output import EXIT_CODES
from chatapi.logic import explain as logic
from chatapi.logic import price_overrides
from chatapi.logic.runtime import Runtime
from chatapi.logic.sentences import sentences


@click.command(epilog=EXIT_CODES)
@click.argument("call")
@click.option("--json", "as_json", is_flag=True, help="A JSON object, with costs in nano-dollars.")
@with_runtime
def explain(runtime: Runtime, call: str, *, as_json: bool) -> None:
    """Explain the call of the id CALL, of whichever user: how it was bounded, which counters it held, each attempt,
    what it was charged at which price, and why it ended.

    The id stands in the log, in the ledger, and in what upstreams were sent as X-ChatAPI-Call-Id. docs/explain.md says
    what each part means.
    """
    price_overrides.load(runtime)
    found = logic.any_call(runtime, call)
    if as_json:
        record = logic.as_record(found) | {"sentences": sentences(found)}
        click.echo(orjson.dumps(record, option=orjson.OPT_INDENT_2).decode())
    else:
        for sentence in sentences(found):
            click.echo(sentence)
