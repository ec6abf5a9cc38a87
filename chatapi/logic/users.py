"""Users, one at a time: make, invite, find and change them. Many at once: `user_imports`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from uuid_utils import uuid7

from chatapi.domain.actors import Actor, is_above
from chatapi.domain.authority import require_another, require_rank_over, require_right_to_give
from chatapi.domain.names import DEFAULT_TENANT, name_problem, username_problem
from chatapi.domain.principals import Role, Status
from chatapi.errors import InvalidInput, NotFound, Taken
from chatapi.logic.changes import Change, change
from chatapi.logic.invitations import Invitation, issue
from chatapi.logic.new_passwords import new_hash, put_hash
from chatapi.logic.operators import lock_operators, require_operator
from chatapi.logic.runtime import Runtime
from chatapi.logic.tenants import VERBS, find_tenant, tenant_to_change
from chatapi.storage import access_tokens, accounts, directory, invitations
from chatapi.storage.accounts import NewUser, Tenant, Transaction, User
from chatapi.storage.directory import UserFilter

OWN_PASSWORD = "Set your own password as every user does, by giving the one that you have."
OWN_STANDING = "Nobody can disable, close or demote themselves. Another admin or operator can."


@dataclass(frozen=True, slots=True)
class ListedUser:
    """A user, and until when an invitation of it is in force; None where there is none."""

    user: User
    invited_until: datetime | None = None


def add_user(
    runtime: Runtime,
    actor: Actor,
    username: str,
    password: str | None,
    *,
    tenant: str = DEFAULT_TENANT,
    role: Role = Role.USER,
) -> Invitation | None:
    """Make an active user in the tenant of this name, which is made too where there is none: for commands.

    Args:
        password: None to have the user set it by the invitation that is returned.

    Raises:
        InvalidInput: a name that cannot be one, or a bad password.
        Taken: the username is taken, or the tenant is closed.
        Forbidden: the role is above the actor's, or the actor is no operator.
    """
    if problem := name_problem(tenant):
        raise InvalidInput(f"The tenant's name {problem}.")
    password_hash = _first_hash(runtime, actor, username, password)
    with change(runtime, actor, Role.OPERATOR) as made:
        if accounts.insert_tenants(made.connection, {tenant: str(uuid7())}, runtime.settings.timezone, made.now):
            found = find_tenant(made.connection, tenant)
            made.record("tenant.add", found.id, "tenant", tenant, after={"timezone": found.zone.name})
        found = find_tenant(made.connection, tenant)
        user = _insert(made, found, username, role, password_hash)
        return issue(runtime, made, user) if password is None else None


def add_to_tenant(
    runtime: Runtime, actor: Actor, tenant_id: str, username: str, password: str | None, role: Role
) -> tuple[ListedUser, Invitation | None]:
    """Make an active user in this tenant. Arguments and errors are those of `add_user`.

    Raises:
        NotFound: there is no such tenant.
    """
    require_right_to_give(actor, role)
    password_hash = _first_hash(runtime, actor, username, password)
    with change(runtime, actor, Role.ADMIN, tenant_id) as made:
        tenant = tenant_to_change(made.connection, tenant_id)
        user = _insert(made, tenant, username, role, password_hash)
        invitation = issue(runtime, made, user) if password is None else None
        return ListedUser(user, invitation.expires_at if invitation else None), invitation


def list_users(runtime: Runtime, tenant: str | None = None) -> list[User]:
    """All users, or those of the tenant of this name, sorted by tenant and name.

    Raises:
        NotFound: there is no such tenant.
    """
    with runtime.database.read() as connection:
        if tenant is None:
            return accounts.list_users(connection)
        found = accounts.find_tenants(connection, [tenant])
        if not found:
            raise NotFound(f"There is no tenant {tenant!r}.")
        return accounts.list_users(connection, found[0].id)


def page_of_users(
    runtime: Runtime,
    tenant_id: str,
    *,
    username: str | None = None,
    role: Role | None = None,
    status: Status | None = None,
    after: str | None = None,
    most: int,
) -> list[ListedUser]:
    """The next users of a tenant, in the order in which they were made.

    Args:
        username: with which theirs begins.
        after: the id of the last one of the page before.
        most: how many at most.

    Raises:
        NotFound: there is no such tenant.
    """
    with runtime.database.read() as connection:
        if directory.find_tenant(connection, tenant_id) is None:
            raise NotFound("There is no such tenant.")
        found = directory.page_of_users(connection, tenant_id, UserFilter(username, role, status), after, most)
        return _listed(runtime, connection, tenant_id, found)


def user_of_id(runtime: Runtime, tenant_id: str, user_id: str) -> ListedUser:
    """One user of a tenant.

    Raises:
        NotFound: there is no such user in it.
    """
    with runtime.database.read() as connection:
        found = directory.find_user(connection, tenant_id, user_id)
        if found is None:
            raise NotFound("There is no such user.")
        return _listed(runtime, connection, tenant_id, [found])[0]


def user_of_name(runtime: Runtime, username: str) -> User:
    """The user of that name, for commands.

    Raises:
        NotFound: there is none.
    """
    with runtime.database.read() as connection:
        found = accounts.find_user(connection, username)
    if found is None:
        raise NotFound(f"There is no user {username!r}.")
    return found


def change_user(
    runtime: Runtime,
    actor: Actor,
    tenant_id: str,
    user_id: str,
    *,
    role: Role | None = None,
    status: Status | None = None,
) -> ListedUser:
    """Give a user another role, or stop or resume serving it; both hold at its next request, in every process.

    Args:
        role: a higher one ends its access tokens and its invitation, which others may have.
        status: disabled and closed end them, too; closed is final.

    Raises:
        NotFound: there is no such user.
        Taken: it is closed; it is the last active operator; or its role is being changed by somebody else.
        Forbidden: its role, or the one to be given, is above the actor's; or it is the actor.
    """
    with change(runtime, actor, Role.ADMIN, tenant_id) as made:
        seen = directory.find_user(made.connection, tenant_id, user_id)
        operators = lock_operators(made.connection) if seen and seen.role is Role.OPERATOR else 0
        user = user_to_change(made, tenant_id, user_id)
        if seen is None or seen.role is not user.role:
            raise Taken(f"The role of user {user.username!r} has been changed meanwhile; please try again.")
        role, status = role or user.role, status or user.status
        if role is not user.role:
            require_right_to_give(made.actor, role)
        if (role, status) != (user.role, user.status):
            require_another(made.actor, user_id, OWN_STANDING)
        values = {"role": role.value, "status": status.value}
        accounts.change_users(made.connection, [{"tenant_id": tenant_id, "user_id": user_id, **values}])
        require_operator(made.connection, operators)
        if status is not Status.ACTIVE or is_above(role, user.role):  # others may have them, and gave them no such rank
            access_tokens.revoke_of_users(made.connection, [(tenant_id, user_id)], made.now)
            invitations.withdraw(made.connection, [(tenant_id, user_id)])
        _record(made, user, role, status)
    return user_of_id(runtime, tenant_id, user_id)


def set_password(runtime: Runtime, actor: Actor, tenant_id: str, user_id: str, password: str) -> None:
    """Give a user another password; its access tokens end at once, in every process.

    Raises:
        NotFound: there is no such user.
        Taken: it is closed.
        InvalidInput: the password cannot be one.
        Forbidden: its role is above the actor's; or it is the actor.
    """
    user_of_id(runtime, tenant_id, user_id)  # before anything is hashed
    password_hash = new_hash(runtime, actor, password)
    with change(runtime, actor, Role.ADMIN, tenant_id) as made:
        user = user_to_change(made, tenant_id, user_id)
        require_another(made.actor, user_id, OWN_PASSWORD)
        put_hash(made, user, password_hash)
        made.record("user.set_password", tenant_id, "user", user.username)


def invite_user(runtime: Runtime, actor: Actor, tenant_id: str, user_id: str) -> Invitation:
    """Have a user set its password by a link; until then it keeps the one that it may have.

    Raises:
        NotFound: there is no such user.
        Taken: it is closed.
        Forbidden: its role is above the actor's; or it is the actor.
    """
    with change(runtime, actor, Role.ADMIN, tenant_id) as made:
        user = user_to_change(made, tenant_id, user_id)
        require_another(made.actor, user_id, OWN_PASSWORD)
        return issue(runtime, made, user)


def find_user(connection: Transaction, username: str) -> User:
    """The user of that name, for changing it in this transaction.

    Raises:
        NotFound: there is no such user.
        Taken: it is closed.
    """
    user = accounts.find_user(connection, username, lock=True)
    if user is None:
        raise NotFound(f"There is no user {username!r}.")
    return _open(user)


def user_to_change(made: Change, tenant_id: str, user_id: str) -> User:
    """The user of this id, for changing it in this transaction.

    Raises:
        NotFound: there is no such user in this tenant.
        Taken: it is closed, or its tenant is.
        Forbidden: its role is above the actor's.
    """
    user = directory.find_user(made.connection, tenant_id, user_id, lock=True)
    if user is None:
        raise NotFound("There is no such user.")
    require_rank_over(made.actor, user.role)
    return _open(user)


def _open(user: User) -> User:
    if user.status is Status.CLOSED:
        raise Taken(f"User {user.username!r} is closed.")
    if user.tenant_status is Status.CLOSED:
        raise Taken(f"Tenant {user.tenant_name!r} is closed.")
    return user


def _first_hash(runtime: Runtime, actor: Actor, username: str, password: str | None) -> str:
    if problem := username_problem(username):
        raise InvalidInput(f"The username {problem}.")
    return runtime.hasher.nobodys() if password is None else new_hash(runtime, actor, password)


def _insert(made: Change, tenant: Tenant, username: str, role: Role, password_hash: str) -> User:
    require_right_to_give(made.actor, role)
    new = NewUser(tenant.id, username, role, password_hash)
    if not accounts.insert_users(made.connection, [new], made.now):
        raise Taken(f"There is a user {username!r} already.")
    made.record("user.add", tenant.id, "user", username, after={"id": new.id, "role": role.value})
    return accounts.find_users(made.connection, [username])[username]


def _record(made: Change, user: User, role: Role, status: Status) -> None:
    if role is not user.role:
        before, after = {"role": user.role.value}, {"role": role.value}
        made.record("user.set_role", user.tenant_id, "user", user.username, before=before, after=after)
    if status is not user.status:
        before, after = {"status": user.status.value}, {"status": status.value}
        made.record(f"user.{VERBS[status]}", user.tenant_id, "user", user.username, before=before, after=after)


def _listed(runtime: Runtime, connection: Transaction, tenant_id: str, found: list[User]) -> list[ListedUser]:
    now = runtime.database.now(connection)
    ends = invitations.ends(connection, tenant_id, [user.id for user in found])
    in_force = {user_id: end for user_id, end in ends.items() if end > now}
    return [ListedUser(user, in_force.get(user.id)) for user in found]
