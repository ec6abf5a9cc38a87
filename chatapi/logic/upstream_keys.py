"""Tenants' own keys for upstreams: set, told of and removed, never read back. Calls use them by `logic/own_keys.py`."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from chatapi.domain.actors import Actor
from chatapi.domain.names import can_be_kept
from chatapi.domain.principals import Role
from chatapi.errors import Forbidden, InvalidInput, NotFound
from chatapi.logic.changes import change
from chatapi.logic.own_keys import place_of
from chatapi.logic.runtime import Runtime
from chatapi.logic.sealing import SealedElsewhere, Vault, vault_of
from chatapi.logic.tenants import tenant_of_id, tenant_to_change
from chatapi.storage import sealed
from chatapi.storage import upstream_keys as storage
from chatapi.storage.sealed import Sealed
from chatapi.storage.trail import INSTALLATION
from chatapi.storage.upstream_keys import SealedKey

KEY = re.compile(r"[!-~]{8,1024}", re.ASCII)  # it becomes a header; a shorter one could not be struck out of replies
AT_ONCE = 100  # secrets that one transaction seals anew


@dataclass(frozen=True, slots=True)
class UpstreamKey:
    """That a tenant has a key of its own for an upstream, since when, and whether there still is such an upstream: a
    key for one that is not configured any more is not used."""

    upstream: str
    set_at: datetime
    configured: bool = True


def keys_of(
    runtime: Runtime, tenant_id: str, *, after: str | None = None, most: int | None = None
) -> list[UpstreamKey]:
    """For which upstreams a tenant has keys, by name.

    Args:
        runtime: what to work with.
        tenant_id: whose; the caller has made sure that it is within reach.
        after: the name of the last one of the page before.
        most: how many at most.

    Raises:
        NotFound: there is no such tenant.
    """
    tenant_of_id(runtime, tenant_id)
    with runtime.database.read() as connection:
        found = storage.of_tenant(connection, tenant_id, after=after or "", most=most)
    known = {one.name for one in runtime.upstreams}
    return [UpstreamKey(key.upstream, key.set_at, key.upstream in known) for key in found]


def set_key(runtime: Runtime, actor: Actor, tenant_id: str, upstream: str, key: str) -> UpstreamKey:
    """Have a tenant's calls to an upstream go out with its own key, from the next admission on.

    Raises:
        InvalidInput: it cannot be a key.
        NotFound: there is no such tenant or upstream.
        Taken: the tenant is closed.
        Forbidden: the actor may not change that.
    """
    known = [one.name for one in runtime.upstreams]
    if upstream not in known:
        raise NotFound(f"There is no such upstream. There are: {', '.join(known) or 'none'}.")
    if not KEY.fullmatch(key):
        raise InvalidInput("The key must be 8 to 1024 characters without spaces, as the upstream gave it.")
    vault = _vault(runtime)
    with change(runtime, actor, Role.ADMIN, tenant_id) as made:
        tenant = tenant_to_change(made.connection, tenant_id)
        old = storage.find(made.connection, tenant.id, upstream)
        sealed_key = vault.seal(place_of(tenant.id, upstream), key)
        storage.put(made.connection, SealedKey(tenant.id, upstream, made.now, sealed_key))
        before = None if old is None else {"set_at": old.set_at.isoformat()}
        after = {"set_at": made.now.isoformat()}
        made.record("upstream_key.set", tenant.id, "upstream_key", upstream, before=before, after=after)
        return UpstreamKey(upstream, made.now)


def remove_key(runtime: Runtime, actor: Actor, tenant_id: str, upstream: str) -> None:
    """Have a tenant's calls to an upstream go out with the installation's key again, from the next admission on.

    Raises:
        NotFound: there is no such tenant, or it has no such key.
        Taken: the tenant is closed.
        Forbidden: the actor may not change that.
    """
    with change(runtime, actor, Role.ADMIN, tenant_id) as made:
        tenant = tenant_to_change(made.connection, tenant_id)
        old = storage.find(made.connection, tenant.id, upstream) if can_be_kept(upstream) else None
        if old is None:
            raise NotFound("The tenant has no key of its own for this upstream.")
        storage.remove(made.connection, tenant.id, upstream)
        before = {"set_at": old.set_at.isoformat()}
        made.record("upstream_key.remove", tenant.id, "upstream_key", upstream, before=before)


@dataclass(slots=True)
class Rotation:
    """What was sealed anew.

    Args:
        resealed: so many secrets were.
        current: so many were sealed with the first encryption key already.
        strange: the places of those that no encryption key opens.
    """

    resealed: int
    current: int
    strange: list[str]


def rotate(runtime: Runtime, actor: Actor, on_progress: Callable[[int, int], None]) -> Rotation:
    """Seal every secret in the database with the first encryption key: batch by batch, each in a transaction of its
    own, so that it may be interrupted and run again, while everything serves.

    Args:
        runtime: what to work with.
        actor: who does it.
        on_progress: is told of how many secrets were looked at, and of how many there are.

    Raises:
        Forbidden: the actor is no operator.
    """
    if not actor.is_at_least(Role.OPERATOR):
        raise Forbidden
    vault, done = _vault(runtime), Rotation(0, 0, [])
    with runtime.database.read() as connection:
        total = sealed.count(connection)
    seen = 0
    for shelf in sealed.SHELVES:
        after: tuple[str, str] | None = None
        while True:
            with runtime.database.read() as connection:
                found = sealed.page(connection, shelf, after, AT_ONCE)
            if not found:
                break
            _reseal(runtime, vault, found, done)
            after, seen = (found[-1].tenant_id, found[-1].name), seen + len(found)
            on_progress(seen, max(total, seen))
    with change(runtime, actor, Role.OPERATOR) as made:
        told = {"resealed": done.resealed, "not_opened": len(done.strange)}
        made.record("encryption_key.rotate", INSTALLATION, "encryption_key", "first", after=told)
    return done


def _reseal(runtime: Runtime, vault: Vault, found: list[Sealed], done: Rotation) -> None:
    """Seal these anew. Those that somebody changes meanwhile are sealed with a key of that one's configuration."""
    anew = list[tuple[Sealed, bytes]]()
    for each in found:
        if vault.is_current(each.content):
            done.current += 1
            continue
        try:
            anew.append((each, vault.reseal(each.place, each.content)))
        except SealedElsewhere:
            done.strange.append(each.place)
    if not anew:
        return
    with runtime.database.write() as connection:
        done.resealed += sum(sealed.replace(connection, *both) for both in anew)


def _vault(runtime: Runtime) -> Vault:
    return vault_of(runtime.settings.sealing_keys)
