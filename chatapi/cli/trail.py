"""`chatapi trail`: who changed what, when, from where, before and after."""

from __future__ import annotations

import click
import orjson

from chatapi.cli.context import with_runtime
from chatapi.cli.output import EXIT_CODES, show
from chatapi.logic.runtime import Runtime
from chatapi.logic.tenants import list_tenants, tenant_of_name
from chatapi.logic.trail import INSTALLATION, KeptEntry, newest_entries

COLUMNS = ("at", "actor", "address", "action", "tenant", "subject", "before", "after")


@click.command(epilog=EXIT_CODES)
@click.option("--tenant", help="Of this tenant only.")
@click.option("--action", help="Only this action, such as user.add.")
@click.option("--actor", help='Only by this one: a username, or "command:" and the account that ran a command.')
@click.option("--subject", help="Only about this name or id.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 100_000), help="How many at most.")
@click.option("--json", "as_json", is_flag=True, help="A JSON list.")
@with_runtime
def trail(
    runtime: Runtime,
    tenant: str | None,
    action: str | None,
    actor: str | None,
    subject: str | None,
    limit: int,
    *,
    as_json: bool,
) -> None:
    """Show who changed what, newest first: tenants, users, limits, access tokens and whatever else is administered.

    Every change by a command or through /admin has an entry, written with it or not at all; passwords and secrets are
    not in it. Entries are only ever added: the database refuses to change or delete one.
    """
    tenant_id = None if tenant is None else tenant_of_name(runtime, tenant).id
    found = newest_entries(runtime, tenant_id, action=action, actor=actor, subject=subject, most=limit)
    names = {each.id: each.name for each in list_tenants(runtime)}
    rows = [_row(kept, names) for kept in found]
    if not as_json:
        rows = [row | {name: _readable(row[name]) for name in ("before", "after")} for row in rows]
    show(rows, COLUMNS, as_json=as_json)


def _row(kept: KeptEntry, names: dict[str, str]) -> dict[str, object]:
    entry = kept.entry
    tenant_id = None if entry.tenant_id == INSTALLATION else entry.tenant_id
    return {
        "id": kept.id,
        "at": f"{entry.at:%Y-%m-%dT%H:%M:%SZ}",
        "actor": entry.actor,
        "actor_id": entry.actor_id,
        "address": entry.address,
        "action": entry.action,
        "tenant": None if tenant_id is None else names.get(tenant_id, tenant_id),
        "tenant_id": tenant_id,
        "subject_kind": entry.subject_kind,
        "subject": entry.subject,
        "before": entry.before,
        "after": entry.after,
    }


def _readable(values: object) -> str | None:
    return None if values is None else orjson.dumps(values).decode()
