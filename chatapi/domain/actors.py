"""Actors: who changes something, and what that one may reach."""

from __future__ import annotations

from dataclasses import dataclass

from chatapi.domain.principals import Claims, Role

RANK = {role: rank for rank, role in enumerate((Role.USER, Role.ADMIN, Role.OPERATOR))}


def is_above(role: Role, other: Role) -> bool:
    """Whether a role may do more than another."""
    return RANK[role] > RANK[other]


@dataclass(frozen=True, slots=True)
class Actor:
    """Who asks for a change: a user over HTTP, or whoever runs a command on the machine itself.

    Args:
        name: the username; of a command, `command:` and the account that runs it.
        role: as it is now.
        claims: of the access token; None for a command.
        address: where the request came from; '' for a command.
        is_named: its access token was made by name, for calls: with such a one nobody administers.
    """

    name: str
    role: Role
    claims: Claims | None = None
    address: str = ""
    is_named: bool = False

    @property
    def user_id(self) -> str | None:
        """The user's id; None for a command."""
        return None if self.claims is None else self.claims.user_id

    def is_at_least(self, role: Role) -> bool:
        """Whether the actor may do what this role may."""
        return RANK[self.role] >= RANK[role]

    def reaches(self, tenant_id: str) -> bool:
        """Whether the actor may look after this tenant: operators after all, admins after their own."""
        if self.role is Role.OPERATOR:
            return True
        return self.role is Role.ADMIN and self.claims is not None and self.claims.tenant_id == tenant_id
