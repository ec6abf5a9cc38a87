"""Bringing users in from a file: all of it, or nothing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from uuid_utils import uuid7

from chatapi.domain.effective_limits import LimitScope, LimitSetting, Unset
from chatapi.domain.limits import Metric
from chatapi.domain.principals import Role, Status
from chatapi.domain.user_csv import InvalidUserFile, Problem, UserRow
from chatapi.domain.windows import Window
from chatapi.errors import InvalidInput
from chatapi.logic.runtime import Runtime
from chatapi.storage import access_tokens, accounts, limits
from chatapi.storage.accounts import NewUser, Tenant, Transaction, User
from chatapi.storage.limits import LimitChange

MOST_ROUNDS = 5

_HashKey = tuple[int, str | None]  # a row's line, and its user's hash until now
_Hashes = dict[_HashKey, str | None]  # a row's new hash; None: its password is the one that its user has
Progress = Callable[[int, int], None]  # passwords that are done, and how many there are


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What an import did, in numbers of users, or would have done (a dry run), and the tenants that it made."""

    created: int
    changed: int
    unchanged: int
    tenants_created: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Known:
    """What the database knows of a file's names: tenants by name, users by name, their own daily limits."""

    tenants: dict[str, Tenant]
    users: dict[str, User]
    daily_limits: dict[tuple[str, Metric], LimitSetting]  # by the user's id


@dataclass(slots=True)
class _Plan:
    """What has to be written, ready to be written in one go."""

    tenant_ids: dict[str, str] = field(default_factory=dict)  # of tenants to be made, by name
    new: list[NewUser] = field(default_factory=list)
    changed: list[User] = field(default_factory=list)  # as they are until then
    changes: list[dict[str, object]] = field(default_factory=list)  # of `changed`: columns
    limit_changes: list[LimitChange] = field(default_factory=list)
    revoked: list[tuple[str, str]] = field(default_factory=list)
    unchanged: int = 0

    def report(self) -> ImportReport:
        """The plan in numbers."""
        return ImportReport(len(self.new), len(self.changed), self.unchanged, tuple(sorted(self.tenant_ids)))


class _ChangedMeanwhile(Exception):
    """What the plan was made from is not so any more."""


def import_users(
    runtime: Runtime, rows: Sequence[UserRow], *, dry_run: bool = False, progress: Progress | None = None
) -> ImportReport:
    """Create the users of a file, and change those that exist to what it says.

    A row that says what is already so changes nothing and revokes nothing; a new password ends its user's access
    tokens. What a file does not say (a column that it lacks, whether a user is disabled) stays. Passwords are hashed
    before the transaction begins, and it begins with a look whether all is still as it was.

    Args:
        dry_run: find out everything and write nothing.
        progress: called as passwords are hashed.

    Raises:
        InvalidUserFile: rows that cannot be imported, each with its line; nothing was imported.
    """
    hashes: _Hashes = {}
    for _ in range(MOST_ROUNDS):
        with runtime.database.read() as connection:
            known = _look(connection, rows)
        _refuse(rows, known)
        _hash(runtime, rows, known, hashes, progress, dry_run=dry_run)
        plan = _plan(rows, known, hashes)
        if dry_run:
            return plan.report()
        try:
            _write(runtime, plan)
        except _ChangedMeanwhile:
            continue
        return plan.report()
    raise InvalidInput("Users of this file keep being changed by others. Nothing was imported; please try again.")


def _look(connection: Transaction, rows: Sequence[UserRow]) -> _Known:
    tenants = {
        tenant.name: tenant for tenant in accounts.find_tenants(connection, sorted({row.tenant for row in rows}))
    }
    users = accounts.find_users(connection, sorted(row.username for row in rows))
    daily_limits: dict[tuple[str, Metric], LimitSetting] = {}
    if any(row.daily_limits for row in rows):
        ids = defaultdict[str, list[str]](list)
        for user in users.values():
            ids[user.tenant_id].append(user.id)
        for tenant_id, user_ids in ids.items():
            daily_limits |= limits.find_daily_limits(connection, tenant_id, user_ids)
    return _Known(tenants, users, daily_limits)


def _refuse(rows: Sequence[UserRow], known: _Known) -> None:
    problems = []
    for row in rows:
        user, tenant = known.users.get(row.username), known.tenants.get(row.tenant)
        if user is not None and user.tenant_name != row.tenant:
            problems.append(Problem(row.line, f"username {row.username!r} belongs to another tenant"))
        elif user is not None and user.status is Status.CLOSED:
            problems.append(Problem(row.line, f"user {row.username!r} is closed"))
        elif tenant is not None and tenant.status is Status.CLOSED:
            problems.append(Problem(row.line, f"tenant {row.tenant!r} is closed"))
    if problems:
        raise InvalidUserFile(problems)


def _hash(
    runtime: Runtime,
    rows: Sequence[UserRow],
    known: _Known,
    hashes: _Hashes,
    progress: Progress | None,
    *,
    dry_run: bool,
) -> None:
    """Find the new hash of every row, or that its password is the one that its user has, and add it to `hashes`."""
    jobs: list[tuple[_HashKey, str]] = []
    for row in rows:
        user = known.users.get(row.username)
        key = (row.line, user.password_hash if user else None)
        if key in hashes:
            continue
        if row.password is None:
            is_same = user is not None and row.password_hash in (user.password_hash, user.given_hash)
            hashes[key] = None if is_same else row.password_hash
        else:
            jobs.append((key, row.password))

    def new_hash(job: tuple[_HashKey, str]) -> str | None:
        (_, old_hash), password = job
        if old_hash is not None and runtime.hasher.verify(old_hash, password):
            return None
        return "" if dry_run else runtime.hasher.hash(password)

    done = runtime.hasher.many(jobs, new_hash, lambda count: progress(count, len(jobs)) if progress else None)
    hashes.update({key: found for (key, _), found in zip(jobs, done, strict=True)})


def _plan(rows: Sequence[UserRow], known: _Known, hashes: _Hashes) -> _Plan:
    plan = _Plan()
    for row in rows:
        user = known.users.get(row.username)
        new_hash = hashes[row.line, user.password_hash if user else None]
        if user is None:
            tenant = known.tenants.get(row.tenant)
            tenant_id = tenant.id if tenant else plan.tenant_ids.setdefault(row.tenant, str(uuid7()))
            new = NewUser(tenant_id, row.username, row.role or Role.USER, new_hash or "")
            plan.new.append(new)
            plan.limit_changes += _limit_changes(row, tenant_id, new.id, known)
            continue
        limit_changes = _limit_changes(row, user.tenant_id, user.id, known)
        role = row.role or user.role
        if new_hash is None and role is user.role and not limit_changes:
            plan.unchanged += 1
            continue
        plan.changed.append(user)
        plan.limit_changes += limit_changes
        if new_hash is not None:
            plan.revoked.append((user.tenant_id, user.id))
        secret = (user.password_hash, user.given_hash) if new_hash is None else (new_hash, None)
        values = {"role": role.value, "password_hash": secret[0], "given_hash": secret[1]}
        plan.changes.append({"tenant_id": user.tenant_id, "user_id": user.id, **values})
    return plan


def _limit_changes(row: UserRow, tenant_id: str, user_id: str, known: _Known) -> list[LimitChange]:
    return [
        LimitChange(tenant_id, LimitScope.USER, user_id, metric, Window.DAY, setting)
        for metric, setting in row.daily_limits.items()
        if setting != known.daily_limits.get((user_id, metric), Unset.INHERIT)
    ]


def _write(runtime: Runtime, plan: _Plan) -> None:
    with runtime.database.write() as connection:
        names = sorted(user.username for user in plan.changed)
        if accounts.find_users(connection, names, lock=True) != {user.username: user for user in plan.changed}:
            raise _ChangedMeanwhile
        now = runtime.database.now(connection)
        made = accounts.insert_tenants(connection, plan.tenant_ids, runtime.settings.timezone, now)
        if made < len(plan.tenant_ids) or accounts.insert_users(connection, plan.new, now) < len(plan.new):
            raise _ChangedMeanwhile
        accounts.change_users(connection, plan.changes)
        access_tokens.revoke_of_users(connection, plan.revoked, now)
        limits.change_limits(connection, plan.limit_changes, now)
