"""One's own access tokens and password, under `/v1/me`."""

from __future__ import annotations

from pydantic import Field

from chatapi.domain.actors import Actor
from chatapi.domain.passwords import LONGEST_PASSWORD
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
from chatapi.endpoint.shapes import Body, ListOf
from chatapi.logic import me_access_tokens as logic
from chatapi.logic.own_password import change_password

PATH = "/v1/me/access_tokens"
ONE = f"{PATH}/{{access_token_id}}"
FROM_TOKEN = "It takes the access token that `POST /token` gives: 403 with one that was made by name."

resources = Resources("me_access_tokens", __name__)


class PasswordChange(Body):
    """Another password for oneself."""

    refused_with = (429,)

    current_password: str = Field(max_length=LONGEST_PASSWORD)
    new_password: str = Field(min_length=1, max_length=LONGEST_PASSWORD)


@resources.operation(
    "POST",
    PATH,
    needs=Role.USER,
    status=201,
    summary="Make a named access token of your own",
    description=f"{ONCE} {FROM_TOKEN}",
)
def add_my_access_token(actor: Actor, body: AccessTokenBody) -> MadeAccessToken:
    """As the summary says."""
    return made_access_token(logic.add_own(runtime(), actor, body.read()))


@resources.operation("GET", PATH, needs=Role.USER, summary="List your access tokens, newest first")
def list_my_access_tokens(actor: Actor, query: AccessTokenQuery) -> ListOf[AccessTokenRecord]:
    """As the summary says."""
    found = logic.page_of_own(runtime(), actor, query.read(), after=query.read_after_id(), most=query.limit + 1)
    return query.page(map(access_token_record, found), key=lambda record: record.id)


@resources.operation("GET", ONE, needs=Role.USER, summary="Show one of your access tokens")
def show_my_access_token(actor: Actor, access_token_id: str) -> AccessTokenRecord:
    """As the summary says."""
    return access_token_record(logic.own_of_id(runtime(), actor, access_token_id))


@resources.operation(
    "DELETE",
    ONE,
    needs=Role.USER,
    summary="Revoke one of your access tokens",
    description="It ends at once, in every process; streams that run with it end within ten seconds. It may be the one "
    "that you ask with.",
)
def revoke_my_access_token(actor: Actor, access_token_id: str) -> None:
    """As the summary says."""
    logic.revoke_own(runtime(), actor, access_token_id)


@resources.operation(
    "POST",
    "/v1/me/password",
    needs=Role.USER,
    summary="Change your password",
    description="All your access tokens end at once, in every process, the one that you ask with and named ones too: "
    f"log in anew at `POST /token`. A wrong current password counts as a failed login. {FROM_TOKEN}",
)
def change_my_password(actor: Actor, body: PasswordChange) -> None:
    """As the summary says."""
    change_password(runtime(), actor, body.current_password, body.new_password)
