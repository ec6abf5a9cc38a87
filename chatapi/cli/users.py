"""`chatapi users`: import them from a file, add, list, disable and enable them, set their passwords."""

from __future__ import annotations

import sys
from typing import BinaryIO

import click

from chatapi.cli.context import with_runtime
from chatapi.cli.output import EXIT_CODES, progress_bar, show
from chatapi.domain import user_csv
from chatapi.domain.names import DEFAULT_TENANT
from chatapi.domain.principals import Role
from chatapi.errors import InvalidInput
from chatapi.logic import user_imports
from chatapi.logic import users as logic
from chatapi.logic.runtime import Runtime

password_from_stdin = click.option(
    "--password-stdin", is_flag=True, help="Read the password from the first line of standard input."
)


@click.group(epilog=EXIT_CODES)
def users() -> None:
    """Import, add, list, disable and enable users; set their passwords."""


@users.command("import", epilog=EXIT_CODES)
@click.argument("file", type=click.File("rb"))
@click.option("--dry-run", is_flag=True, help="Check everything, say what would be done, and change nothing.")
@with_runtime
def import_users(runtime: Runtime, file: BinaryIO, dry_run: bool) -> None:
    """Create the users of FILE, a CSV ("-" is standard input), and change those that exist to what it says.

    \b
    The first line names the columns, in any order:
      username                      unique in the installation
      password or password_hash     exactly one a line; hashes are argon2id
      tenant                        optional; "default" without it
      role                          optional: user, admin or operator
      daily_requests, daily_tokens  optional: a number, "unlimited", or empty to inherit

    Every bad line is reported, and then nothing is imported. Importing a file again changes nothing; a changed password
    ends its user's access tokens. A disabled user stays disabled.
    """
    rows = user_csv.parse(file)
    with progress_bar("Hashing passwords") as progress:
        report = user_imports.import_users(runtime, rows, dry_run=dry_run, progress=progress)
    would = "Dry run, nothing was changed: " if dry_run else ""
    click.echo(f"{would}{report.created} created, {report.changed} changed, {report.unchanged} unchanged.")
    if report.tenants_created:
        click.echo(f"Tenants created: {', '.join(report.tenants_created)}")


@users.command(epilog=EXIT_CODES)
@click.argument("username")
@click.option("--tenant", default=DEFAULT_TENANT, show_default=True, help="Made when there is none of that name.")
@click.option(
    "--role",
    type=click.Choice([role.value for role in Role]),
    default=Role.USER.value,
    show_default=True,
    help="What the user may do.",
)
@password_from_stdin
@with_runtime
def add(runtime: Runtime, username: str, tenant: str, role: str, password_stdin: bool) -> None:
    """Add one user; the password is asked for."""
    logic.add_user(runtime, username, _password(password_stdin), tenant=tenant, role=Role(role))
    click.echo(f"User {username} was added to tenant {tenant}.", err=True)


@users.command("list", epilog=EXIT_CODES)
@click.option("--tenant", help="Of this tenant only.")
@click.option("--json", "as_json", is_flag=True, help="A JSON list.")
@with_runtime
def list_users(runtime: Runtime, tenant: str | None, as_json: bool) -> None:
    """List users, sorted by tenant and name."""
    rows = [
        {"tenant": user.tenant_name, "username": user.username, "role": user.role.value, "status": user.status.value}
        for user in logic.list_users(runtime, tenant)
    ]
    show(rows, ("tenant", "username", "role", "status"), as_json=as_json)


@users.command(epilog=EXIT_CODES)
@click.argument("username")
@with_runtime
def disable(runtime: Runtime, username: str) -> None:
    """Stop serving a user, and end its access tokens at once."""
    logic.disable_user(runtime, username)
    click.echo(f"User {username} is disabled.", err=True)


@users.command(epilog=EXIT_CODES)
@click.argument("username")
@with_runtime
def enable(runtime: Runtime, username: str) -> None:
    """Serve a user again, who must log in anew."""
    logic.enable_user(runtime, username)
    click.echo(f"User {username} is enabled.", err=True)


@users.command("set-password", epilog=EXIT_CODES)
@click.argument("username")
@password_from_stdin
@with_runtime
def set_password(runtime: Runtime, username: str, password_stdin: bool) -> None:
    """Give a user another password, which is asked for, and end its access tokens at once."""
    logic.set_password(runtime, username, _password(password_stdin))
    click.echo(f"User {username} has a new password.", err=True)


def _password(from_stdin: bool) -> str:
    """The password, from the terminal or from standard input; never from the command line, which others can see."""
    if not from_stdin:
        return str(click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True))
    try:
        return sys.stdin.buffer.readline().decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        raise InvalidInput("The password on standard input is not UTF-8.") from None
