"""`chatapi upstream-keys`: tenants' own keys for upstreams, and sealing what is secret in the database anew."""

from __future__ import annotations

import sys

import click

from chatapi.cli.context import with_runtime
from chatapi.cli.output import EXIT_CODES, progress_bar, show
from chatapi.errors import ConfigurationError
from chatapi.logic import upstream_keys as logic
from chatapi.logic.actors import command_actor
from chatapi.logic.explain import utc
from chatapi.logic.runtime import Runtime
from chatapi.logic.tenants import tenant_of_name


@click.group("upstream-keys", epilog=EXIT_CODES)
def upstream_keys() -> None:
    """Have a tenant's calls go out with its own key for an upstream."""


@upstream_keys.command("set", epilog=EXIT_CODES)
@click.argument("tenant")
@click.argument("upstream")
@with_runtime
def set_key(runtime: Runtime, tenant: str, upstream: str) -> None:
    """Set the key of TENANT for UPSTREAM, from the next call on.

    The key is read from standard input, or asked for at a terminal; never from the command line, which others can see.
    """
    tenant_id = tenant_of_name(runtime, tenant).id
    logic.set_key(runtime, command_actor(), tenant_id, upstream, _given_key().strip())
    click.echo(f"Calls of {tenant} to {upstream} go out with its own key from now on.", err=True)


@upstream_keys.command("list", epilog=EXIT_CODES)
@click.argument("tenant")
@click.option("--json", "as_json", is_flag=True, help="A JSON list.")
@with_runtime
def list_keys(runtime: Runtime, tenant: str, as_json: bool) -> None:
    """List for which upstreams TENANT has keys, and since when; nothing shows the keys."""
    found = logic.keys_of(runtime, tenant_of_name(runtime, tenant).id)
    rows: list[dict[str, object]] = [
        {"upstream": key.upstream, "set_at": utc(key.set_at), "configured": key.configured} for key in found
    ]
    if not as_json:
        rows = [row | {"configured": "yes" if row["configured"] else "no, so it is not used"} for row in rows]
    show(rows, ("upstream", "set_at", "configured"), as_json=as_json)


@upstream_keys.command("remove", epilog=EXIT_CODES)
@click.argument("tenant")
@click.argument("upstream")
@with_runtime
def remove_key(runtime: Runtime, tenant: str, upstream: str) -> None:
    """Remove the key of TENANT for UPSTREAM: its calls go out with the installation's key again."""
    logic.remove_key(runtime, command_actor(), tenant_of_name(runtime, tenant).id, upstream)
    click.echo(f"Calls of {tenant} to {upstream} go out with the installation's key from now on.", err=True)


@upstream_keys.command(epilog=EXIT_CODES)
@with_runtime
def rotate(runtime: Runtime) -> None:
    """Encrypt every secret in the database (upstream keys, what signs webhooks) with the first of
    CHATAPI_ENCRYPTION_KEYS.

    It works in small batches, while the service serves. It may be interrupted, and run again.
    """
    with progress_bar("Encrypting") as on_progress:
        done = logic.rotate(runtime, command_actor(), on_progress)
    click.echo(f"{done.resealed} encrypted anew, {done.current} had been already.", err=True)
    if done.strange:
        raise ConfigurationError(
            f"{len(done.strange)} cannot be decrypted with any of CHATAPI_ENCRYPTION_KEYS, and were left as they are:\n"
            + "\n".join(done.strange)
        )


def _given_key() -> str:
    """From the terminal or from standard input; what is no ASCII there is no key, and is refused as such."""
    if sys.stdin.isatty():
        return str(click.prompt("Key", hide_input=True, err=True))
    return sys.stdin.buffer.readline().decode("ascii", "replace")
