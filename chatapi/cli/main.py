"""`chatapi`: the commands of an installation. Each one is said in full by `chatapi COMMAND --help`."""

from __future__ import annotations

import gc
import importlib

import click

from chatapi import __version__
from chatapi.cli.errors import SayErrors

COMMANDS = {  # where each one is: only the one that is called is imported, because imports are most of a command's time
    "serve": "chatapi.cli.serve",
    "db": "chatapi.cli.database",
    "users": "chatapi.cli.users",
    "tenants": "chatapi.cli.tenants",
    "access-tokens": "chatapi.cli.access_tokens",
    "limits": "chatapi.cli.limits",
    "grants": "chatapi.cli.grants",
    "models": "chatapi.cli.models",
    "upstreams": "chatapi.cli.upstreams",
    "upstream-keys": "chatapi.cli.keys",
    "usage": "chatapi.cli.ledger",
    "statement": "chatapi.cli.statements",
    "reconcile": "chatapi.cli.reconcile",
    "explain": "chatapi.cli.explain",
    "trail": "chatapi.cli.trail",
    "sweep": "chatapi.cli.ledger",
    "audit": "chatapi.cli.ledger",
    "retention": "chatapi.cli.retention",
    "backup": "chatapi.cli.backup",
    "restore": "chatapi.cli.backup",
    "webhooks": "chatapi.cli.webhooks",
    "alerts": "chatapi.cli.webhooks",
    "chat": "chatapi.cli.chat",
}


class Commands(SayErrors):
    """The commands by name, imported when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All of them, in the order in which help shows them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """One of them."""
        if cmd_name not in COMMANDS:
            return None
        gc.disable()  # nothing that is imported becomes garbage, and looking for it takes a fifth of the time
        try:
            command: click.Command = getattr(importlib.import_module(COMMANDS[cmd_name]), cmd_name.replace("-", "_"))
        finally:
            gc.enable()
        return command


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="chatapi")
def cli() -> None:
    """ChatAPI: a multi-tenant, token-metered ChatGPT service.

    Settings come from the environment and from envs/.env; docs/configuration.md names them all. Commands exit with 0
    when all went well, 1 when something is wrong (said on standard error) and 2 when they were called wrongly.
    """


if __name__ == "__main__":
    cli()
