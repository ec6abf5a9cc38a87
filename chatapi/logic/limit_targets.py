"""Whom a limit or a grant is for, how it is named, and who may change it."""

from __future__ import annotations

from dataclasses import dataclass

from chatapi.domain.actors import Actor
from chatapi.domain.effective_limits import LimitScope
from chatapi.domain.principals import Role
from chatapi.errors import Forbidden, InvalidInput, NotFound
from chatapi.storage import holders
from chatapi.storage.accounts import Transaction
from chatapi.storage.holders import Holder

WORDS = {LimitScope.USER: "user", LimitScope.ACCESS_TOKEN: "access token"}


@dataclass(frozen=True, slots=True)
class LimitTarget:
    """A tenant as a whole, each user of a tenant that has no limit of its own, a user, or an access token.

    Args:
        scope: which of these.
        name: of the user or tenant, or the id of the access token; with `tenant_id` always an id.
        tenant_id: of the tenant that has what is named; None: whichever has it.
    """

    scope: LimitScope
    name: str
    tenant_id: str | None = None

    @classmethod
    def of(
        cls,
        *,
        user: str | None = None,
        each_user_of: str | None = None,
        tenant: str | None = None,
        access_token: str | None = None,
    ) -> LimitTarget:
        """The target of exactly one of these names (of an access token: its id).

        Raises:
            InvalidInput: none is given, or several are.
        """
        names = {LimitScope.USER: user, LimitScope.EACH_USER: each_user_of, LimitScope.TENANT: tenant}
        names[LimitScope.ACCESS_TOKEN] = access_token
        given = [cls(scope, name) for scope, name in names.items() if name is not None]
        if len(given) != 1:
            raise InvalidInput(
                "Name exactly one: a user, an access token, a tenant, or a tenant each of whose users is meant."
            )
        return given[0]

    def __str__(self) -> str:
        whose = "each user of" if self.scope == "each_user" else self.scope.replace("_", " ")
        return f"{whose} {self.name}"

    def find(self, connection: Transaction, *, lock: bool = False) -> Holder:
        """Whom it names; with `lock` for changing its limits in this transaction.

        Raises:
            NotFound: there is none.
            InvalidInput: it is to be changed and is closed.
        """
        holder = self._find(connection, lock=lock)
        what = WORDS.get(self.scope, "tenant")
        if holder is None:
            raise NotFound(
                f"There is no {what} {self.name!r}." if self.tenant_id is None else f"There is no such {what}."
            )
        if lock and holder.is_closed:
            raise InvalidInput(f"{what.capitalize()} {self.name!r} is closed.")
        return holder

    def _find(self, connection: Transaction, *, lock: bool) -> Holder | None:
        tenant_id = self.tenant_id
        if self.scope is LimitScope.ACCESS_TOKEN:
            return holders.find_access_token(connection, self.name, tenant_id=tenant_id, lock=lock)
        if self.scope is LimitScope.USER:
            named = {"name": self.name} if tenant_id is None else {"tenant_id": tenant_id, "user_id": self.name}
            return holders.find_user(connection, **named, lock=lock)
        return holders.find_tenant(
            connection, **({"name": self.name} if tenant_id is None else {"tenant_id": tenant_id}), lock=lock
        )

    def scope_id(self, holder: Holder) -> str:
        """The id that its limits are kept for."""
        ids = {LimitScope.USER: holder.user_id, LimitScope.ACCESS_TOKEN: holder.jti}
        return ids.get(self.scope) or holder.tenant_id


def require_reach(actor: Actor, scope: LimitScope, holder: Holder) -> None:
    """Nobody changes limits of their own, nor of who has a role above; and those of a tenant only operators change.

    Raises:
        Forbidden: this actor may not.
        NotFound: it is another tenant's.
    """
    if not actor.reaches(holder.tenant_id):
        raise NotFound("There is no such tenant.")
    if scope is LimitScope.TENANT and actor.role is not Role.OPERATOR:
        raise Forbidden("The limits of a tenant as a whole are for operators to change.")
    if actor.user_id is not None and holder.user_id == actor.user_id:
        raise Forbidden("Nobody changes limits of their own. Somebody else who may has to.")
    if not actor.is_at_least(holder.role):
        raise Forbidden("The user's role is above yours.")
