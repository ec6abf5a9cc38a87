"""`chatapi`: the commands of an installation. Each one is said in full by `chatapi COMMAND --help`."""

from __future__ import annotations

import click

from chatapi import __version__
from chatapi.cli.chat import chat
from chatapi.cli.context import SayErrors
from chatapi.cli.database import db
from chatapi.cli.ledger import audit, sweep, usage
from chatapi.cli.limits import limits
from chatapi.cli.retention import retention
from chatapi.cli.serve import serve
from chatapi.cli.tenants import tenants
from chatapi.cli.users import users


@click.group(cls=SayErrors, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="chatapi")
def cli() -> None:
    """ChatAPI: a multi-tenant, token-metered ChatGPT service.

    Settings come from the environment and from envs/.env; docs/configuration.md names them all. Commands exit with 0
    when all went well, 1 when something is wrong (said on standard error) and 2 when they were called wrongly.
    """


for command in (serve, db, users, tenants, limits, usage, sweep, audit, retention, chat):
    cli.add_command(command)


if __name__ == "__main__":
    cli()
