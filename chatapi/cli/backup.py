"""`chatapi backup` and `chatapi restore`: an installation in one file, and an installation of such a file."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from chatapi.cli.context import with_runtime
from chatapi.cli.output import EXIT_CODES, progress_bar
from chatapi.domain.backup_manifest import Manifest
from chatapi.errors import InvalidInput
from chatapi.logic import backup as backing_up
from chatapi.logic import restore as restoring
from chatapi.logic.runtime import Runtime

STANDARD_OUTPUT = Path("-")


@click.command(epilog=EXIT_CODES)
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--with-secret",
    "with_secrets",
    is_flag=True,
    help="Put in the JWT secret and the encryption keys, too: whoever has the file can then sign access tokens.",
)
@with_runtime
def backup(runtime: Runtime, file: Path, with_secrets: bool) -> None:
    """Write the whole installation, as it is at one instant, to FILE ("-" is standard output), while calls go on.

    FILE appears when it is whole, readable by its owner only, and replaces one of the same name. `chatapi restore`
    takes it into SQLite and PostgreSQL alike. docs/administration/backup.md says what is in it.
    """
    with progress_bar("Backing up") as progress:
        if file == STANDARD_OUTPUT:
            manifest = _to_standard_output(runtime, progress, with_secrets=with_secrets)
        else:
            manifest = backing_up.back_up_to_file(runtime, file, progress, with_secrets=with_secrets)
    click.echo(
        f"{manifest.rows:,} rows of {len(manifest.tables)} tables, as they were at {manifest.made_at}.", err=True
    )


@click.command(epilog=EXIT_CODES)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@with_runtime
def restore(runtime: Runtime, file: Path) -> None:
    """Fill an empty database with the backup in FILE: all of it, or nothing.

    Run `chatapi db upgrade` on the new database first, and nothing else. The whole file is verified before anything is
    written. Calls that were in flight when the backup was made are charged at their holds. What is left to be done by
    hand is said at the end.
    """
    with progress_bar("Restoring") as progress:
        done = restoring.restore(runtime, file, progress)
    click.echo(
        f"{done.manifest.rows:,} rows were restored, as they were at {done.manifest.made_at}; of calls that were in"
        f" flight then, {done.expired_calls:,} expired."
    )
    for number, sentence in enumerate(done.to_do, 1):
        click.echo(f"{number}. {sentence}")


def _to_standard_output(runtime: Runtime, progress: backing_up.Progress, *, with_secrets: bool) -> Manifest:
    stream = sys.stdout.buffer
    if stream.isatty():
        raise InvalidInput("Standard output is a terminal: name a file, or send it to another program.")
    try:
        manifest = backing_up.back_up(runtime, stream, progress, with_secrets=with_secrets)
        stream.flush()
    except OSError as error:
        raise InvalidInput(f"Standard output does not take it: {os.strerror(error.errno or 0)}") from error
    return manifest
