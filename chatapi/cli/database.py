"""`chatapi db`: the database's schema, and the secret that is bound to it."""

from __future__ import annotations

import click

from chatapi.cli.context import with_database, with_runtime
from chatapi.logic import installation, schema
from chatapi.logic.runtime import Runtime


@click.group()
def db() -> None:
    """Bring the database up to date; rotate the JWT secret."""


@db.command()
@with_database
def upgrade(runtime: Runtime) -> None:
    """Apply the migrations that are missing. Safe to run again, and on several machines at once."""
    before, after = schema.upgrade(runtime)
    click.echo(f"The database is at revision {after}" + (" already." if before == after else "."), err=True)


@db.command("rotate-secret")
@click.confirmation_option(prompt="Every access token ends, and every user must log in again. Go on?")
@with_runtime
def rotate_secret(runtime: Runtime) -> None:
    """Accept the JWT secret that is now configured. Ends every access token.

    Stop every machine of the installation, set the new CHATAPI_JWT_SECRET_KEY on all of them, run this once, start them
    again.
    """
    revoked = installation.rotate_secret(runtime)
    click.echo(f"The new secret is accepted; {revoked} access tokens were revoked.", err=True)
