"""Operators: no change takes the last active one away from an installation that has one."""

from __future__ import annotations

from chatapi.errors import Taken
from chatapi.storage import directory
from chatapi.storage.accounts import Transaction


def lock_operators(connection: Transaction) -> int:
    """Keep others from changing operators until this transaction ends. Returns how many are active.

    Whoever is about to change one asks for this before any other lock but a tenant's, so that no two wait for each
    other: logins, too, lock the tenant first and then the user.
    """
    directory.lock_operators(connection)
    return directory.count_operators(connection)


def require_operator(connection: Transaction, before: int) -> None:
    """Let a change pass, now that it is made, unless it took the last one of the active operators.

    Args:
        before: how many there were.

    Raises:
        Taken: it did; nothing of the transaction may be kept.
    """
    if before and not directory.count_operators(connection):
        raise Taken("This would take away the last active operator. Make another one first.")
