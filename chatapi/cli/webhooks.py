"""`chatapi webhooks` and `chatapi alerts`: where reached shares of limits are told, and what became of each alert."""

from __future__ import annotations

import click
import orjson

from chatapi.cli.context import with_runtime
from chatapi.cli.output import EXIT_CODES, show
from chatapi.domain.alerts import DEFAULT_SHARES
from chatapi.domain.names import DEFAULT_TENANT
from chatapi.logic import webhooks as logic
from chatapi.logic.actors import command_actor
from chatapi.logic.runtime import Runtime
from chatapi.logic.tenants import tenant_of_name

MOST_ALERTS = 1000
STATES = ("pending", "delivered", "given_up")

of_tenant = click.option("--tenant", default=DEFAULT_TENANT, show_default=True, help="The tenant that it belongs to.")
share_option = click.option(
    "--share", "shares", type=click.IntRange(1, 100), multiple=True, help="A percentage of limits to be told of."
)
as_json_option = click.option("--json", "as_json", is_flag=True, help="A JSON list.")


@click.group(epilog=EXIT_CODES)
def webhooks() -> None:
    """Tell others when shares of limits are reached. docs/administration/alerts.md says what is sent."""


@webhooks.command(epilog=EXIT_CODES)
@click.argument("url")
@of_tenant
@share_option
@with_runtime
def add(runtime: Runtime, url: str, tenant: str, shares: tuple[int, ...]) -> None:
    """Post to URL when a share of a limit per day or month is reached; 80 and 100 % unless --share says otherwise.

    The webhook's id goes to standard output, and then the secret that what is sent is signed with. It is not shown
    again; rotate-secret makes another one.
    """
    tenant_id = tenant_of_name(runtime, tenant).id
    webhook, secret = logic.add_webhook(runtime, command_actor(), tenant_id, url, shares or DEFAULT_SHARES)
    click.echo(webhook.id)
    click.echo(secret)


@webhooks.command("list", epilog=EXIT_CODES)
@of_tenant
@as_json_option
@with_runtime
def list_webhooks(runtime: Runtime, tenant: str, as_json: bool) -> None:
    """List a tenant's webhooks."""
    found = logic.page_of_webhooks(runtime, tenant_of_name(runtime, tenant).id, None, logic.MOST_WEBHOOKS)
    rows = [
        {
            "id": each.id,
            "url": each.url,
            "shares": list(each.shares) if as_json else ", ".join(f"{share} %" for share in each.shares),
            "status": each.status,
        }
        for each in found
    ]
    show(rows, ("id", "url", "shares", "status"), as_json=as_json)


@webhooks.command(epilog=EXIT_CODES)
@click.argument("webhook_id", type=click.UUID)
@of_tenant
@click.option("--url", help="Post to this URL from now on, also what is still to be sent.")
@share_option
@click.option(
    "--on/--off", "is_active", default=None, help="Send it alerts, or none; off gives up what it has not got."
)
@with_runtime
def change(
    runtime: Runtime, webhook_id: object, tenant: str, url: str | None, shares: tuple[int, ...], is_active: bool | None
) -> None:
    """Change a webhook; what is not named stays as it is."""
    tenant_id = tenant_of_name(runtime, tenant).id
    changed = logic.change_webhook(
        runtime, command_actor(), tenant_id, str(webhook_id), url=url, shares=shares or None, is_active=is_active
    )
    click.echo(f"Webhook {changed.id} is {changed.status}.", err=True)


@webhooks.command("rotate-secret", epilog=EXIT_CODES)
@click.argument("webhook_id", type=click.UUID)
@of_tenant
@with_runtime
def rotate_secret(runtime: Runtime, webhook_id: object, tenant: str) -> None:
    """Give a webhook another secret, which goes to standard output. For a day what is sent is signed with both."""
    tenant_id = tenant_of_name(runtime, tenant).id
    click.echo(logic.rotate_secret(runtime, command_actor(), tenant_id, str(webhook_id)))


@webhooks.command(epilog=EXIT_CODES)
@click.argument("webhook_id", type=click.UUID)
@of_tenant
@with_runtime
def remove(runtime: Runtime, webhook_id: object, tenant: str) -> None:
    """Send nothing more to a webhook, and forget it."""
    tenant_id = tenant_of_name(runtime, tenant).id
    logic.remove_webhook(runtime, command_actor(), tenant_id, str(webhook_id))
    click.echo(f"Webhook {webhook_id} was removed.", err=True)


@webhooks.command(epilog=EXIT_CODES)
@click.argument("webhook_id", type=click.UUID)
@of_tenant
@with_runtime
def test(runtime: Runtime, webhook_id: object, tenant: str) -> None:
    """Send a test event from here, now, and say whether it was taken; if not, workers try it again."""
    tenant_id = tenant_of_name(runtime, tenant).id
    sent = logic.send_test_event(runtime, command_actor(), tenant_id, str(webhook_id))
    click.echo(sent.state if sent.problem is None else f"{sent.state}: {sent.problem}")
    if sent.state != "delivered":
        raise click.exceptions.Exit(1)


@click.command(epilog=EXIT_CODES)
@of_tenant
@click.option("--state", type=click.Choice(STATES), help="Only of this state.")
@click.option("--limit", type=click.IntRange(1, MOST_ALERTS), default=50, show_default=True, help="How many at most.")
@as_json_option
@with_runtime
def alerts(runtime: Runtime, tenant: str, state: str | None, limit: int, as_json: bool) -> None:
    """Show a tenant's alerts, newest first, and whether its webhooks have taken them."""
    found = logic.page_of_alerts(runtime, tenant_of_name(runtime, tenant).id, None, limit, state=state)
    rows = [_row(each) for each in found]
    if as_json:
        rows = [row | {"event": orjson.loads(each.body)} for row, each in zip(rows, found, strict=True)]
    else:
        rows = [row | {"about": _about(each)} for row, each in zip(rows, found, strict=True)]
    show(rows, ("raised_at", "about", "state", "tries", "problem", "webhook", "id"), as_json=as_json)


def _row(alert: logic.Alert) -> dict[str, object]:
    return {
        "id": alert.id,
        "raised_at": f"{alert.raised_at:%Y-%m-%dT%H:%M:%SZ}",
        "webhook": alert.webhook_id,
        "state": alert.state,
        "tries": alert.tries,
        "problem": alert.problem,
    }


def _about(alert: logic.Alert) -> str:
    """What an alert is about, in a few words."""
    said = orjson.loads(alert.body)
    data = said["data"]
    if "share" not in data:
        return str(said["type"])
    whose = data["user"] or "the tenant"
    model = f" of {data['model']}" if data["model"] else ""
    return f"{data['share']} % of {data['metric']}{model} per {data['window']} of {whose}"
