"""The trail, as it is read: who changed what, newest first."""

from __future__ import annotations

from chatapi.logic.runtime import Runtime
from chatapi.storage import trail
from chatapi.storage.trail import INSTALLATION, KeptEntry, TrailFilter, TrailPage

__all__ = ["INSTALLATION", "KeptEntry", "TrailPage", "page_of_trail"]


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
