"""Webhooks of a tenant: where alerts are sent to, and what became of each."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from uuid_utils import uuid7

from chatapi.domain.actors import Actor
from chatapi.domain.alerts import DEFAULT_SHARES, TEST, check_shares, event
from chatapi.domain.principals import Role
from chatapi.domain.public_addresses import read_url
from chatapi.domain.webhook_signatures import OVERLAP, Secrets, new_secret
from chatapi.errors import InvalidInput, NotFound, Taken
from chatapi.logic.changes import Change, change
from chatapi.logic.deliveries import deliver_now, seal_secrets, secrets_of
from chatapi.logic.runtime import Runtime
from chatapi.logic.sealing import SealedElsewhere
from chatapi.logic.tenants import tenant_of_id, tenant_to_change
from chatapi.storage import alerts
from chatapi.storage import webhooks as storage
from chatapi.storage.accounts import Transaction
from chatapi.storage.alerts import Alert
from chatapi.storage.webhooks import Webhook

__all__ = ["Alert", "Webhook"]

MOST_WEBHOOKS = 10  # of a tenant
OVERLAP_HOURS = int(OVERLAP.total_seconds() // 3600)
TESTS = "test/"  # what the occasions of test events begin with
NONE_SUCH = "There is no such webhook."


def add_webhook(
    runtime: Runtime, actor: Actor, tenant_id: str, url: str, shares: Sequence[int] = DEFAULT_SHARES
) -> tuple[Webhook, str]:
    """Make a webhook that is told from now on; also of shares that have been reached in windows that are open.

    Args:
        runtime: what to work with.
        actor: who makes it.
        tenant_id: whose limits it is told of.
        url: where it is.
        shares: of limits, in percent.

    Returns:
        The webhook, and its secret, which is not to be had again.

    Raises:
        NotFound: there is no such tenant.
        InvalidInput: a URL or shares that cannot be, or too many webhooks.
        Taken: the tenant is closed.
    """
    _check(runtime, url)
    wanted = _shares(shares)
    secret = new_secret()
    with change(runtime, actor, Role.ADMIN, tenant_id) as made:
        tenant_to_change(made.connection, tenant_id)
        if storage.count(made.connection, tenant_id) >= MOST_WEBHOOKS:
            raise InvalidInput(f"A tenant has at most {MOST_WEBHOOKS} webhooks. Remove one first.")
        webhook_id = str(uuid7())
        sealed = seal_secrets(runtime, tenant_id, webhook_id, Secrets(secret))
        webhook = Webhook(tenant_id, webhook_id, url, wanted, storage.ACTIVE, made.now, sealed)
        storage.add(made.connection, webhook)
        made.record("webhook.add", tenant_id, "webhook", webhook_id, after=_known(webhook))
    return webhook, secret


def find_webhook(runtime: Runtime, tenant_id: str, webhook_id: str) -> Webhook:
    """One webhook.

    Raises:
        NotFound: the tenant has no such webhook.
    """
    with runtime.database.read() as connection:
        found = storage.find(connection, tenant_id, webhook_id)
    if found is None:
        raise NotFound(NONE_SUCH)
    return found


def page_of_webhooks(runtime: Runtime, tenant_id: str, after: str | None, most: int) -> list[Webhook]:
    """A tenant's webhooks in the order in which they were made, those after an id.

    Raises:
        NotFound: there is no such tenant.
    """
    tenant_of_id(runtime, tenant_id)
    with runtime.database.read() as connection:
        return storage.page(connection, tenant_id, after, most)


def change_webhook(
    runtime: Runtime,
    actor: Actor,
    tenant_id: str,
    webhook_id: str,
    *,
    url: str | None = None,
    shares: Sequence[int] | None = None,
    is_active: bool | None = None,
) -> Webhook:
    """Change what is given. What a webhook that is switched off has not taken yet is given up.

    Raises:
        NotFound: the tenant has no such webhook.
        InvalidInput: a URL or shares that cannot be.
    """
    values: dict[str, object] = {}
    if url is not None:
        _check(runtime, url)
        values["url"] = url
    if shares is not None:
        values["shares"] = _shares(shares)
    if is_active is not None:
        values["status"] = storage.ACTIVE if is_active else storage.DISABLED
    with change(runtime, actor, Role.ADMIN, tenant_id) as made:
        before = _locked(made, tenant_id, webhook_id)
        if values:
            storage.change(made.connection, tenant_id, webhook_id, **values)
        if is_active is False:
            problem = "the webhook was switched off"
            alerts.give_up_all(made.connection, tenant_id, webhook_id, made.now, problem)
        after = _locked(made, tenant_id, webhook_id)
        known = [_known(each) for each in (before, after)]
        made.record("webhook.change", tenant_id, "webhook", webhook_id, before=known[0], after=known[1])
    return after


def rotate_secret(runtime: Runtime, actor: Actor, tenant_id: str, webhook_id: str) -> str:
    """Give a webhook another secret. For a day what is sent is signed with both, so that its receiver can follow.

    Returns:
        The secret, which is not to be had again.

    Raises:
        NotFound: the tenant has no such webhook.
    """
    with change(runtime, actor, Role.ADMIN, tenant_id) as made:
        webhook = _locked(made, tenant_id, webhook_id)
        try:
            kept = secrets_of(runtime, tenant_id, webhook_id, webhook.sealed_secret).rotated(made.now)
        except SealedElsewhere:  # nothing could be signed with it any more
            kept = Secrets(new_secret())
        sealed = seal_secrets(runtime, tenant_id, webhook_id, kept)
        storage.change(made.connection, tenant_id, webhook_id, sealed_secret=sealed)
        made.record("webhook.rotate_secret", tenant_id, "webhook", webhook_id)
    return kept.current


def remove_webhook(runtime: Runtime, actor: Actor, tenant_id: str, webhook_id: str) -> None:
    """Send nothing more to a webhook, and forget it and its secret. Its alerts stay.

    Raises:
        NotFound: the tenant has no such webhook.
    """
    with change(runtime, actor, Role.ADMIN, tenant_id) as made:
        webhook = _locked(made, tenant_id, webhook_id)
        storage.change(made.connection, tenant_id, webhook_id, status=storage.DELETED, sealed_secret=b"")
        alerts.give_up_all(made.connection, tenant_id, webhook_id, made.now, "the webhook was removed")
        made.record("webhook.remove", tenant_id, "webhook", webhook_id, before=_known(webhook))


def add_test_event(runtime: Runtime, actor: Actor, tenant_id: str, webhook_id: str) -> Alert:
    """Have a test event sent to a webhook, as alerts are.

    Raises:
        NotFound: the tenant has no such webhook.
        Taken: the webhook is switched off, or has not taken the last one yet.
    """
    with change(runtime, actor, Role.ADMIN, tenant_id) as made:
        webhook = _locked(made, tenant_id, webhook_id)
        if webhook.status != storage.ACTIVE:
            raise Taken("The webhook is switched off.")
        if alerts.has_pending(made.connection, tenant_id, webhook_id, TESTS):
            raise Taken("The webhook has not taken the last test event yet.")
        event_id = alerts.new_id()
        data = {"tenant_id": tenant_id, "webhook_id": webhook_id}
        row = {"tenant_id": tenant_id, "id": event_id, "webhook_id": webhook_id, "occasion": TESTS + event_id}
        alerts.raise_all(made.connection, [{**row, "body": event(event_id, TEST, made.now, data)}], made.now)
        made.record("webhook.test", tenant_id, "webhook", webhook_id, after={"alert": event_id})
        return _alert(made.connection, tenant_id, event_id)


def send_test_event(runtime: Runtime, actor: Actor, tenant_id: str, webhook_id: str) -> Alert:
    """Send a test event here and now; what became of it.

    Raises:
        NotFound, Taken: as above.
    """
    made = add_test_event(runtime, actor, tenant_id, webhook_id)
    deliver_now(runtime, made.id)  # unless a worker has been quicker
    with runtime.database.read() as connection:
        return _alert(connection, tenant_id, made.id)


def page_of_alerts(
    runtime: Runtime,
    tenant_id: str,
    before: str | None,
    most: int,
    *,
    state: str | None = None,
    webhook_id: str | None = None,
) -> list[Alert]:
    """A tenant's alerts, newest first, those before an id.

    Raises:
        NotFound: there is no such tenant.
    """
    tenant_of_id(runtime, tenant_id)
    with runtime.database.read() as connection:
        return alerts.page(connection, tenant_id, before, most, state=state, webhook_id=webhook_id)


def _check(runtime: Runtime, url: str) -> None:
    try:
        read_url(url, private=runtime.settings.webhook_private_addresses)
    except ValueError as error:
        raise InvalidInput(f"The URL {error}.") from None


def _shares(shares: Sequence[int]) -> tuple[int, ...]:
    try:
        return check_shares(shares)
    except ValueError as error:
        raise InvalidInput(f"The shares {error}.") from None


def _known(webhook: Webhook) -> dict[str, object]:
    """What the trail may say of a webhook: of its URL, which may have a secret in it, the host, and a digest by which a
    change of the rest shows."""
    try:
        host = read_url(webhook.url, private=True).authority
    except ValueError:
        host = ""
    digest = hashlib.sha256(webhook.url.encode()).hexdigest()
    return {"host": host, "url_sha256": digest, "shares": list(webhook.shares), "status": webhook.status}


def _locked(made: Change, tenant_id: str, webhook_id: str) -> Webhook:
    found = storage.find(made.connection, tenant_id, webhook_id, lock=True)
    if found is None:
        raise NotFound(NONE_SUCH)
    return found


def _alert(connection: Transaction, tenant_id: str, alert_id: str) -> Alert:
    found = alerts.find(connection, tenant_id, alert_id)
    if found is None:
        raise NotFound("There is no such alert.")
    return found
