"""How a principal's limits stand, for replies to requests that never came to an admission."""

from __future__ import annotations

from chatapi.domain.limits import Standing
from chatapi.domain.principals import Claims
from chatapi.errors import UnknownAccessToken
from chatapi.logic.runtime import Runtime


def standings(runtime: Runtime, claims: Claims) -> list[Standing]:
    """Every limit that holds for the principal, with its numbers.

    Raises:
        UnknownAccessToken: the access token, its user or its tenant is not in force.
        DatabaseUnavailable: the database cannot answer.
    """
    with runtime.database.read() as connection:
        found = runtime.ledger.standings(connection, claims)
    if found is None:
        raise UnknownAccessToken
    return found
