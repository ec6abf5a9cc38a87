"""Authority: what one user may do to another. Who may reach which tenant says the actor itself."""

from __future__ import annotations

from chatapi.domain.actors import Actor
from chatapi.domain.principals import Role
from chatapi.errors import Forbidden


def require_rank_over(actor: Actor, role: Role) -> None:
    """Let nobody change whom a higher role is given to.

    Raises:
        Forbidden: the user's role is above the actor's.
    """
    if not actor.is_at_least(role):
        raise Forbidden(f"This user has the role {role}, which is above yours.")


def require_right_to_give(actor: Actor, role: Role) -> None:
    """Let nobody give a role above their own.

    Raises:
        Forbidden: it is.
    """
    if not actor.is_at_least(role):
        raise Forbidden(f"The role {role} is above yours.")


def require_another(actor: Actor, user_id: str, what: str) -> None:
    """Let nobody do to themselves what would lock them out, or needs no password where their own way does.

    Args:
        what: the sentence that says so.

    Raises:
        Forbidden: the user is the actor.
    """
    if actor.user_id == user_id:
        raise Forbidden(what)
