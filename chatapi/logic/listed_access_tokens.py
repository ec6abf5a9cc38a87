"""Access tokens as people and programs are told of them: what has become of each, its own limits, when it was used."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from chatapi.domain.access_tokens import AccessTokenState
from chatapi.domain.effective_limits import LimitRow, LimitScope
from chatapi.errors import NotFound
from chatapi.logic.runtime import Runtime
from chatapi.storage import access_tokens, limits
from chatapi.storage.access_tokens import AccessTokenFilter, KeptAccessToken
from chatapi.storage.accounts import Transaction

__all__ = ["AccessTokenFilter", "AccessTokenState", "ListedAccessToken", "access_token_of", "listed"]

NO_SUCH = "There is no such access token."
AT_ONCE = 500  # access tokens of which limits and days are read at once


@dataclass(frozen=True, slots=True)
class ListedAccessToken:
    """An access token, what has become of it, its own limits, and the last local day with a call; None without any."""

    kept: KeptAccessToken
    state: AccessTokenState
    limits: tuple[LimitRow, ...]
    last_used: str | None


def listed(
    runtime: Runtime,
    connection: Transaction,
    tenant_id: str,
    user_id: str | None,
    wanted: AccessTokenFilter,
    *,
    after: str | None = None,
    most: int | None = None,
) -> list[ListedAccessToken]:
    """Access tokens of a user, or of a tenant, newest first.

    Args:
        runtime: what to work with.
        connection: of the transaction.
        tenant_id: the tenant.
        user_id: the user; None: all of the tenant.
        wanted: which of them.
        after: the id of the last one of the page before.
        most: how many at most; None: all.
    """
    now = runtime.database.now(connection)
    found = access_tokens.page(connection, tenant_id, user_id, wanted, now, after=after, most=most)
    told = []
    for start in range(0, len(found), AT_ONCE):
        told += describe(connection, found[start : start + AT_ONCE], now)
    return told


def access_token_of(
    runtime: Runtime, connection: Transaction, tenant_id: str, user_id: str, jti: str
) -> ListedAccessToken:
    """One access token of a user.

    Raises:
        NotFound: the user has none of this id.
    """
    kept = access_tokens.find(connection, tenant_id, user_id, jti)
    if kept is None:
        raise NotFound(NO_SUCH)
    return describe(connection, [kept], runtime.database.now(connection))[0]


def describe(connection: Transaction, kept: Sequence[KeptAccessToken], now: datetime) -> list[ListedAccessToken]:
    """What there is to say of some access tokens of one tenant, at most `AT_ONCE`."""
    if not kept:
        return []
    tenant_id = kept[0].access_token.tenant_id
    jtis = [each.access_token.jti for each in kept]
    own = defaultdict(list)
    for row in limits.find_limits(connection, tenant_id, scopes=[LimitScope.ACCESS_TOKEN], scope_ids=jtis):
        own[row.scope_id].append(row)
    days = access_tokens.last_used(connection, tenant_id, jtis)
    return [
        ListedAccessToken(each, each.state(now), tuple(own[jti]), days.get(jti))
        for jti, each in zip(jtis, kept, strict=True)
    ]
