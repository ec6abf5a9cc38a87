"""`chatapi users`: import, export, add, invite, list, disable, enable and close them; set their roles and passwords."""

from __future__ import annotations

import sys
from typing import BinaryIO, TextIO

import click

from chatapi.cli.context import with_runtime
from chatapi.cli.output import EXIT_CODES, progress_bar, show
from chatapi.domain import user_csv
from chatapi.domain.csv_cells import csv_lines
from chatapi.domain.names import DEFAULT_TENANT
from chatapi.domain.principals import Role, Status
from chatapi.errors import InvalidInput
from chatapi.logic import user_exports, user_imports
from chatapi.logic import users as logic
from chatapi.logic.actors import command_actor
from chatapi.logic.invitations import Invitation
from chatapi.logic.runtime import Runtime
from chatapi.logic.tenants import tenant_of_name

password_from_stdin = click.option(
    "--password-stdin", is_flag=True, help="Read the password from the first line of standard input."
)

a_role = click.Choice([role.value for role in Role])
base_url = click.option(
    "--url", default="", help="Where the service is, such as https://chat.example; put before links."
)


@click.group(epilog=EXIT_CODES)
def users() -> None:
    """Import, export, add, invite, list, disable, enable and close users; set their roles and passwords."""


@users.command("import", epilog=EXIT_CODES)
@click.argument("file", type=click.File("rb"))
@click.option("--dry-run", is_flag=True, help="Check everything, say what would be done, and change nothing.")
@with_runtime
def import_users(runtime: Runtime, file: BinaryIO, dry_run: bool) -> None:
    """Create the users of FILE, a CSV ("-" is standard input), and change those that exist to what it says.

    \b
    The first line names the columns, in any order:
      username                      unique in the installation
      password or password_hash     exactly one a line; hashes are argon2id;
                                    without both columns users that exist are changed
      tenant                        optional; "default" without it
      role                          optional: user, admin or operator
      status                        optional: active or disabled
      daily_requests, daily_tokens  optional: a number, "unlimited", or empty to inherit

    Every bad line is reported, and then nothing is imported. Importing a file again changes nothing; a changed password
    ends its user's access tokens. Without the column "status" a disabled user stays disabled.
    """
    rows = user_csv.parse(file)
    with progress_bar("Hashing passwords") as progress:
        report = user_imports.import_users(runtime, command_actor(), rows, dry_run=dry_run, progress=progress)
    would = "Dry run, nothing was changed: " if dry_run else ""
    click.echo(f"{would}{report.created} created, {report.changed} changed, {report.unchanged} unchanged.")
    if report.tenants_created:
        click.echo(f"Tenants created: {', '.join(report.tenants_created)}")


@users.command(epilog=EXIT_CODES)
@click.argument("username")
@click.option("--tenant", default=DEFAULT_TENANT, show_default=True, help="Made when there is none of that name.")
@click.option("--role", type=a_role, default=Role.USER.value, show_default=True, help="What the user may do.")
@password_from_stdin
@click.option("--invite", is_flag=True, help="Ask for no password: print a link by which the user sets it.")
@base_url
@with_runtime
def add(
    runtime: Runtime, username: str, tenant: str, role: str, url: str, *, password_stdin: bool, invite: bool
) -> None:
    """Add one user; the password is asked for, unless the user is invited to set it."""
    if invite and password_stdin:
        raise InvalidInput("Give a password or invite the user, and not both.")
    password = None if invite else _password(password_stdin)
    invitation = logic.add_user(runtime, command_actor(), username, password, tenant=tenant, role=Role(role))
    click.echo(f"User {username} was added to tenant {tenant}.", err=True)
    if invitation is not None:
        _show_link(invitation, url)


@users.command("invite", epilog=EXIT_CODES)
@click.argument("username")
@base_url
@with_runtime
def invite_user(runtime: Runtime, username: str, url: str) -> None:
    """Print a link, once, by which a user sets its password.

    It works once and for CHATAPI_INVITATION_DAYS days, and takes the place of an earlier one. Until it is used the user
    keeps the password that it may have.
    """
    user = logic.user_of_name(runtime, username)
    _show_link(logic.invite_user(runtime, command_actor(), user.tenant_id, user.id), url)


@users.command("list", epilog=EXIT_CODES)
@click.option("--tenant", help="Of this tenant only.")
@click.option("--json", "as_json", is_flag=True, help="A JSON list.")
@with_runtime
def list_users(runtime: Runtime, tenant: str | None, as_json: bool) -> None:
    """List users, sorted by tenant and name."""
    rows = [
        {
            "id": user.id,
            "tenant": user.tenant_name,
            "username": user.username,
            "role": user.role.value,
            "status": user.status.value,
        }
        for user in logic.list_users(runtime, tenant)
    ]
    show(rows, ("tenant", "username", "role", "status"), as_json=as_json)


@users.command("export", epilog=EXIT_CODES)
@click.option("--tenant", help="Of this tenant only.")
@click.option("--output", type=click.File("w", encoding="utf-8", lazy=True), default="-", help="A file to write.")
@with_runtime
def export(runtime: Runtime, tenant: str | None, output: TextIO) -> None:
    """Write users as CSV: username, tenant, role, status, daily_requests, daily_tokens; never a password nor a hash.

    What spreadsheets would run as a formula is written with an apostrophe before it.
    """
    tenant_id = None if tenant is None else tenant_of_name(runtime, tenant).id
    for line in csv_lines(user_exports.COLUMNS, user_exports.export_users(runtime, tenant_id)):
        click.echo(line, file=output, nl=False)


@users.command(epilog=EXIT_CODES)
@click.argument("username")
@with_runtime
def disable(runtime: Runtime, username: str) -> None:
    """Stop serving a user, and end its access tokens at once."""
    _set_status(runtime, username, Status.DISABLED)
    click.echo(f"User {username} is disabled.", err=True)


@users.command(epilog=EXIT_CODES)
@click.argument("username")
@with_runtime
def enable(runtime: Runtime, username: str) -> None:
    """Serve a user again, who must log in anew."""
    _set_status(runtime, username, Status.ACTIVE)
    click.echo(f"User {username} is enabled.", err=True)


@users.command(epilog=EXIT_CODES)
@click.argument("username")
@with_runtime
def close(runtime: Runtime, username: str) -> None:
    """Stop serving a user for ever. What it used stays in the ledger, and nobody else can have its name."""
    _set_status(runtime, username, Status.CLOSED)
    click.echo(f"User {username} is closed.", err=True)


@users.command("set-role", epilog=EXIT_CODES)
@click.argument("username")
@click.argument("role", type=a_role)
@with_runtime
def set_role(runtime: Runtime, username: str, role: str) -> None:
    """Give a user another role, from its next request on."""
    user = logic.user_of_name(runtime, username)
    logic.change_user(runtime, command_actor(), user.tenant_id, user.id, role=Role(role))
    click.echo(f"User {username} has the role {role}.", err=True)


@users.command("set-password", epilog=EXIT_CODES)
@click.argument("username")
@password_from_stdin
@with_runtime
def set_password(runtime: Runtime, username: str, password_stdin: bool) -> None:
    """Give a user another password, which is asked for, and end its access tokens at once."""
    user = logic.user_of_name(runtime, username)
    logic.set_password(runtime, command_actor(), user.tenant_id, user.id, _password(password_stdin))
    click.echo(f"User {username} has a new password.", err=True)


def _set_status(runtime: Runtime, username: str, status: Status) -> None:
    user = logic.user_of_name(runtime, username)
    logic.change_user(runtime, command_actor(), user.tenant_id, user.id, status=status)


def _show_link(invitation: Invitation, url: str) -> None:
    click.echo(f"{url.rstrip('/')}{invitation.path}")
    click.echo(f"It works once, until {invitation.expires_at:%Y-%m-%d %H:%M} UTC.", err=True)


def _password(from_stdin: bool) -> str:
    """The password, from the terminal or from standard input; never from the command line, which others can see."""
    if not from_stdin:
        return str(click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True))
    try:
        return sys.stdin.buffer.readline().decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        raise InvalidInput("The password on standard input is not UTF-8.") from None
