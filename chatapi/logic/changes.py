"""Changes: what administrators do, each in one transaction with its entry in the trail."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from chatapi.domain.actors import Actor
from chatapi.domain.principals import Role
from chatapi.errors import Forbidden
from chatapi.logic.actors import as_it_is
from chatapi.logic.runtime import Runtime
from chatapi.storage import trail
from chatapi.storage.accounts import Transaction
from chatapi.storage.trail import Entry

Values = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Deed:
    """One thing that was done, as `Change.record` takes it."""

    action: str
    tenant_id: str
    subject_kind: str
    subject: str
    before: Values | None = None
    after: Values | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """A change under way: its transaction, the database's time, and who makes it."""

    connection: Transaction
    now: datetime
    actor: Actor

    def record(
        self,
        action: str,
        tenant_id: str,
        subject_kind: str,
        subject: str,
        *,
        before: Values | None = None,
        after: Values | None = None,
    ) -> None:
        """Add an entry to the trail; where nothing is different afterwards, none.

        Args:
            action: what was done, as `noun.verb`: `tenant.rename`, `limit.set`, `access_token.revoke`.
            tenant_id: whose data it was; `trail.INSTALLATION` where it is no tenant's.
            subject_kind: what was changed: `tenant`, `user`, `limit`, `access_token`, ...
            subject: its id or name.
            before: values as they were; None of what is new. Never a secret.
            after: values as they are now; None of what is gone.
        """
        self.record_all([Deed(action, tenant_id, subject_kind, subject, before, after)])

    def record_all(self, deeds: Iterable[Deed]) -> None:
        """Add entries to the trail in one go, as `record` adds one."""
        differing = ((deed, *_differing(deed.before, deed.after)) for deed in deeds)
        actor = self.actor
        trail.add(
            self.connection,
            *(
                Entry(
                    tenant_id=deed.tenant_id,
                    at=self.now,
                    actor=actor.name,
                    actor_id=actor.user_id,
                    address=actor.address,
                    action=deed.action,
                    subject_kind=deed.subject_kind,
                    subject=deed.subject,
                    before=before,
                    after=after,
                )
                for deed, before, after in differing
                if before != after or before is None
            ),
        )


@contextmanager
def change(runtime: Runtime, actor: Actor, needs: Role = Role.USER, tenant_id: str | None = None) -> Iterator[Change]:
    """A transaction in which this actor changes something; committed at the end.

    Args:
        actor: who; its role is read again in the transaction.
        needs: the role that this takes.
        tenant_id: whose data is changed, where that is not the actor's own user.

    Raises:
        UnknownAccessToken: the actor is not served any more.
        Forbidden: its role is too low, or the tenant is out of its reach.
    """
    with runtime.database.write() as connection:
        actor = as_it_is(runtime, connection, actor)
        if not actor.is_at_least(needs) or (tenant_id is not None and not actor.reaches(tenant_id)):
            raise Forbidden
        yield Change(connection, runtime.database.now(connection), actor)


def _differing(before: Values | None, after: Values | None) -> tuple[Values | None, Values | None]:
    """Only what is different, where there is a before and an after."""
    if before is None or after is None:
        return before, after
    names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    return {name: before.get(name) for name in names}, {name: after.get(name) for name in names}
