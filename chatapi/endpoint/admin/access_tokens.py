"""Access tokens of a user, looked after by administrators."""

from __future__ import annotations

from chatapi.domain.actors import Actor
from chatapi.domain.principals import Role
from chatapi.endpoint.access_tokens import (
    ONCE,
    AccessTokenBody,
    AccessTokenQuery,
    AccessTokenRecord,
    MadeAccessToken,
    access_token_record,
    made_access_token,
)
from chatapi.endpoint.context import runtime
from chatapi.endpoint.resources import Resources
from chatapi.endpoint.shapes import ListOf
from chatapi.logic import access_tokens as logic

PATH = "/admin/tenants/{tenant_id}/users/{user_id}/access_tokens"
ONE = f"{PATH}/{{access_token_id}}"

resources = Resources("admin_access_tokens", __name__)


@resources.operation(
    "POST",
    PATH,
    needs=Role.ADMIN,
    status=201,
    summary="Make a named access token for a user",
    description=f"For programs and users of the role `user` only: who makes one can use it. {ONCE}",
)
def add_access_token(actor: Actor, tenant_id: str, user_id: str, body: AccessTokenBody) -> MadeAccessToken:
    """As the summary says."""
    return made_access_token(logic.add_access_token(runtime(), actor, tenant_id, user_id, body.read()))


@resources.operation("GET", PATH, needs=Role.ADMIN, summary="List a user's access tokens, newest first")
def list_access_tokens(
    actor: Actor, tenant_id: str, user_id: str, query: AccessTokenQuery
) -> ListOf[AccessTokenRecord]:
    """As the summary says."""
    after, most = query.read_after_id(), query.limit + 1
    found = logic.page_of_access_tokens(runtime(), actor, tenant_id, user_id, query.read(), after=after, most=most)
    return query.page(map(access_token_record, found), key=lambda record: record.id)


@resources.operation("GET", ONE, needs=Role.ADMIN, summary="Show an access token of a user")
def show_access_token(actor: Actor, tenant_id: str, user_id: str, access_token_id: str) -> AccessTokenRecord:
    """As the summary says."""
    return access_token_record(logic.access_token_of(runtime(), actor, tenant_id, user_id, access_token_id))


@resources.operation(
    "DELETE",
    ONE,
    needs=Role.ADMIN,
    summary="Revoke an access token of a user",
    description="It ends at once, in every process; streams that run with it end within ten seconds.",
)
def revoke_access_token(actor: Actor, tenant_id: str, user_id: str, access_token_id: str) -> None:
    """As the summary says."""
    logic.revoke_access_token(runtime(), actor, tenant_id, user_id, access_token_id)
