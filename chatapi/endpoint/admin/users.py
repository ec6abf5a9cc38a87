"""Users of a tenant."""

from __future__ import annotations

from typing import Annotated

from flask import request
from pydantic import Field

from chatapi.domain.actors import Actor
from chatapi.domain.passwords import LONGEST_PASSWORD
from chatapi.domain.principals import Role, Status
from chatapi.endpoint.context import runtime
from chatapi.endpoint.resources import Resources
from chatapi.endpoint.shapes import Body, Instant, ListOf, Page, Reply, Text
from chatapi.logic import users as logic
from chatapi.logic.invitations import Invitation
from chatapi.logic.users import ListedUser

resources = Resources("admin_users", __name__)

USERS = "/admin/tenants/{tenant_id}/users"
USER = f"{USERS}/{{user_id}}"
RANK = "Nobody gives a role above their own, nor changes a user who has one."

Password = Annotated[str, Field(min_length=1, max_length=LONGEST_PASSWORD, json_schema_extra={"format": "password"})]


class NewUser(Body):
    """A user to be made."""

    username: Text = Field(description="Unique in the installation.", examples=["ada"])
    role: Role = Role.USER
    password: Password | None = Field(None, description="Without one the user is invited to set it.", repr=False)


class UserChange(Body):
    """What shall be different; what is absent or null stays."""

    role: Role | None = Field(None, examples=["user"])
    status: Status | None = Field(
        None,
        description="`disabled` stops serving the user and ends its access tokens; `closed` does so for ever.",
        examples=["active"],
    )


class NewPassword(Body):
    """A password."""

    password: Password = Field(repr=False, examples=["correct horse battery staple"])


class UserRecord(Reply):
    """A user."""

    id: str
    tenant_id: str
    username: str
    role: Role
    status: Status
    created_at: Instant
    invited_until: Instant | None = Field(description="Until when an invitation of it is in force.")


class InvitationRecord(Reply):
    """A link by which a user sets a password: it works once, and is shown once."""

    url: str = Field(repr=False)
    expires_at: Instant


class MadeUser(UserRecord):
    """A user that was made, and its invitation where it has no password yet."""

    invitation: InvitationRecord | None


class UserQuery(Page):
    """Which users."""

    username: Text | None = Field(None, description="With which theirs begins, letter by letter.")
    role: Role | None = None
    status: Status | None = None


@resources.operation("GET", USERS, needs=Role.ADMIN, summary="List users", description="In the order of their making.")
def list_users(_: Actor, tenant_id: str, query: UserQuery) -> ListOf[UserRecord]:
    """A tenant's users, in pages."""
    found = logic.page_of_users(
        runtime(),
        tenant_id,
        username=query.username,
        role=query.role,
        status=query.status,
        after=query.read_after_id(),
        most=query.limit + 1,
    )
    return query.page(map(_record, found), key=lambda record: record.id)


@resources.operation("POST", USERS, needs=Role.ADMIN, status=201, summary="Make or invite a user", description=RANK)
def add_user(actor: Actor, tenant_id: str, body: NewUser) -> MadeUser:
    """Make one."""
    listed, invitation = logic.add_to_tenant(runtime(), actor, tenant_id, body.username, body.password, body.role)
    record = _record(listed).model_dump()
    return MadeUser(**record, invitation=_link(invitation) if invitation else None)


@resources.operation("GET", USER, needs=Role.ADMIN, summary="Read a user")
def read_user(_: Actor, tenant_id: str, user_id: str) -> UserRecord:
    """Read one."""
    return _record(logic.user_of_id(runtime(), tenant_id, user_id))


@resources.operation(
    "PATCH",
    USER,
    needs=Role.ADMIN,
    summary="Change a user",
    description=f"{RANK} Nobody disables, closes or demotes themselves, and the last active operator stays one.",
)
def change_user(actor: Actor, tenant_id: str, user_id: str, body: UserChange) -> UserRecord:
    """Change one."""
    changed = logic.change_user(runtime(), actor, tenant_id, user_id, role=body.role, status=body.status)
    return _record(changed)


@resources.operation(
    "POST",
    f"{USER}/password",
    needs=Role.ADMIN,
    summary="Reset a user's password",
    description=f"Its access tokens end at once. {RANK}",
)
def set_password(actor: Actor, tenant_id: str, user_id: str, body: NewPassword) -> None:
    """Give one another password."""
    logic.set_password(runtime(), actor, tenant_id, user_id, body.password)


@resources.operation(
    "POST",
    f"{USER}/invitation",
    needs=Role.ADMIN,
    status=201,
    summary="Invite a user to set a password",
    description=f"The link is shown once, works once, and takes the place of an earlier one. {RANK}",
)
def invite_user(actor: Actor, tenant_id: str, user_id: str) -> InvitationRecord:
    """Invite one."""
    return _link(logic.invite_user(runtime(), actor, tenant_id, user_id))


def _record(listed: ListedUser) -> UserRecord:
    user = listed.user
    return UserRecord(
        id=user.id,
        tenant_id=user.tenant_id,
        username=user.username,
        role=user.role,
        status=user.status,
        created_at=user.created_at,
        invited_until=listed.invited_until,
    )


def _link(invitation: Invitation) -> InvitationRecord:
    return InvitationRecord(url=f"{request.host_url.rstrip('/')}{invitation.path}", expires_at=invitation.expires_at)
