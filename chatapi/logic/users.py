"""Users, one at a time: add, list, set a password, disable and enable. Many at once: `user_imports`."""

from __future__ import annotations

from uuid_utils import uuid7

from chatapi.domain.names import DEFAULT_TENANT, name_problem
from chatapi.domain.passwords import password_problem
from chatapi.domain.principals import Role, Status
from chatapi.errors import InvalidInput
from chatapi.logic.runtime import Runtime
from chatapi.logic.tenants import find_tenant
from chatapi.storage import access_tokens, accounts
from chatapi.storage.accounts import NewUser, Transaction, User


def add_user(
    runtime: Runtime, username: str, password: str, *, tenant: str = DEFAULT_TENANT, role: Role = Role.USER
) -> None:
    """Make an active user; its tenant too, when there is none of that name.

    Raises:
        InvalidInput: a name that cannot be one, a username that is taken, a bad password, or a tenant that is closed.
    """
    for what, name in (("username", username), ("tenant's name", tenant)):
        if problem := name_problem(name):
            raise InvalidInput(f"The {what} {problem}.")
    password_hash = _hash(runtime, password)
    with runtime.database.write() as connection:
        now = runtime.database.now(connection)
        accounts.insert_tenants(connection, {tenant: str(uuid7())}, runtime.settings.timezone, now)
        new = NewUser(find_tenant(connection, tenant).id, username, role, password_hash)
        if not accounts.insert_users(connection, [new], now):
            raise InvalidInput(f"There is a user {username!r} already.")


def list_users(runtime: Runtime, tenant: str | None = None) -> list[User]:
    """All users, or those of one tenant, sorted by tenant and name.

    Raises:
        InvalidInput: there is no such tenant.
    """
    with runtime.database.read() as connection:
        if tenant is None:
            return accounts.list_users(connection)
        found = accounts.find_tenants(connection, [tenant])
        if not found:
            raise InvalidInput(f"There is no tenant {tenant!r}.")
        return accounts.list_users(connection, found[0].id)


def set_password(runtime: Runtime, username: str, password: str) -> None:
    """Give a user another password; its access tokens end at once, in every process.

    Raises:
        InvalidInput: there is no such user, it is closed, or the password cannot be one.
    """
    password_hash = _hash(runtime, password)
    with runtime.database.write() as connection:
        _change(runtime, connection, username, password_hash=password_hash, given_hash=None)


def disable_user(runtime: Runtime, username: str) -> None:
    """Stop serving a user; its access tokens end at once, in every process.

    Raises:
        InvalidInput: there is no such user, or it is closed.
    """
    with runtime.database.write() as connection:
        _change(runtime, connection, username, status=Status.DISABLED.value)


def enable_user(runtime: Runtime, username: str) -> None:
    """Serve a user again, who must log in anew.

    Raises:
        InvalidInput: there is no such user, or it is closed.
    """
    with runtime.database.write() as connection:
        user = find_user(connection, username)
        change = {"tenant_id": user.tenant_id, "user_id": user.id, "status": Status.ACTIVE.value}
        accounts.change_users(connection, [change])


def find_user(connection: Transaction, username: str) -> User:
    """The user of that name, for changing it in this transaction.

    Raises:
        InvalidInput: there is no such user, or it is closed.
    """
    user = accounts.find_user(connection, username, lock=True)
    if user is None:
        raise InvalidInput(f"There is no user {username!r}.")
    if user.status is Status.CLOSED:
        raise InvalidInput(f"User {username!r} is closed.")
    return user


def _change(runtime: Runtime, connection: Transaction, username: str, **values: object) -> None:
    """Change a user and revoke its access tokens."""
    user = find_user(connection, username)
    accounts.change_users(connection, [{"tenant_id": user.tenant_id, "user_id": user.id, **values}])
    access_tokens.revoke_of_users(connection, [(user.tenant_id, user.id)], runtime.database.now(connection))


def _hash(runtime: Runtime, password: str) -> str:
    if problem := password_problem(password):
        raise InvalidInput(f"The password {problem}.")
    return runtime.hasher.hash(password)
