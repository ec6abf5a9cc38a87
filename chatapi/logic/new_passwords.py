"""New passwords, wherever they come from: checked, hashed in turn with the logins, and then in force at once."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

from chatapi.domain.actors import Actor
from chatapi.domain.addresses import counted_address
from chatapi.domain.passwords import password_problem
from chatapi.errors import InvalidInput
from chatapi.logic.changes import Change
from chatapi.logic.runtime import Runtime
from chatapi.storage import access_tokens, accounts, invitations
from chatapi.storage.accounts import User

NAME = "new password"
"""Stands for all of an address that wait for their turn to have a password hashed: no digest of a username is this."""


def new_hash(runtime: Runtime, actor: Actor, password: str) -> str:
    """The hash of a new password.

    Raises:
        InvalidInput: it cannot be one.
        Overloaded: too many wait for a turn.
    """
    if problem := password_problem(password):
        raise InvalidInput(f"The password {problem}.")
    with turn(runtime, actor):
        return runtime.hasher.hash(password)


def turn(runtime: Runtime, actor: Actor) -> AbstractContextManager[None]:
    """A turn among the logins of this process, where it serves; a command has its process to itself."""
    if actor.claims is None:
        return nullcontext()
    return runtime.hasher.turns.turn(counted_address(actor.address), NAME)


def put_hash(made: Change, user: User, password_hash: str) -> None:
    """Give a user another password: its access tokens and what would let somebody set another one end."""
    key = (user.tenant_id, user.id)
    values = {"password_hash": password_hash, "given_hash": None}
    accounts.change_users(made.connection, [{"tenant_id": user.tenant_id, "user_id": user.id, **values}])
    access_tokens.revoke_of_users(made.connection, [key], made.now)
    invitations.withdraw(made.connection, [key])
