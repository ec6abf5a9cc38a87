"""The trail, as it is read: who changed what, newest first."""

from __future__ import annotations

from chatapi.logic.runtime import Runtime
from chatapi.storage import trail
from chatapi.storage.trail import INSTALLATION, KeptEntry, TrailFilter, TrailPage

__all__ = ["INSTALLATION", "KeptEntry", "TrailPage", "newest_entries", "page_of_trail"]


def page_of_trail(
    runtime: Runtime,
    tenant_id: str | None,
    *,
    action: str | None = None,
    actor: str | None = None,
    subject: str | None = None,
    before: str | None = None,
    most: int,
) -> TrailPage:
    """The newest entries of a tenant, or of all and of the installation (None).

    A page may have fewer entries than are wanted, and not be the last: only a bounded number is looked through.

    Args:
        action: as `noun.verb`; None: any.
        actor: the name of who did it; None: anybody.
        subject: the name or id of what was changed; None: anything.
        before: the id of the last one that the page before has looked at.
        most: how many at most.
    """
    with runtime.database.read() as connection:
        return trail.page(connection, TrailFilter(tenant_id, before, action, actor, subject), most)


def newest_entries(
    runtime: Runtime,
    tenant_id: str | None,
    *,
    action: str | None = None,
    actor: str | None = None,
    subject: str | None = None,
    most: int,
) -> list[KeptEntry]:
    """As many of the newest entries as are wanted, however many must be looked through. Arguments as above."""
    found: list[KeptEntry] = []
    last: str | None = None
    while len(found) < most:
        left = most - len(found)
        page = page_of_trail(runtime, tenant_id, action=action, actor=actor, subject=subject, before=last, most=left)
        found += page.entries
        last = page.last
        if last is None:
            break
    return found
