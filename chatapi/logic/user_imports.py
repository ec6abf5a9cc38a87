"""Bringing users in from a file: all of it, or nothing."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from chatapi.domain.actors import Actor
from chatapi.domain.principals import Role
from chatapi.domain.user_csv import UserRow, parse
from chatapi.errors import Forbidden, InvalidInput, Taken
from chatapi.logic.changes import Change, Deed, change
from chatapi.logic.new_passwords import turn
from chatapi.logic.operators import lock_operators, require_operator
from chatapi.logic.runtime import Runtime
from chatapi.logic.tenants import tenant_of_id
from chatapi.logic.user_plans import Hashes, HashKey, Known, Plan, look, make_plan, refuse
from chatapi.storage import access_tokens, accounts, invitations, limits
from chatapi.storage.accounts import Tenant

MOST_ROUNDS = 5
MOST_LINES_OF_A_REQUEST = 2000
"""What else runs in the process stands still while they are read and written: a few tenths of a second."""
MOST_PASSWORDS_OF_A_REQUEST = 500
"""Half a minute's work of a slow core, beside which others log in."""

Progress = Callable[[int, int], None]  # passwords that are done, and how many there are


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What an import did, in numbers of users, or would have done (a dry run), and the tenants that it made."""

    created: int
    changed: int
    unchanged: int
    tenants_created: tuple[str, ...]


class _ChangedMeanwhile(Exception):
    """What the plan was made from is not so any more."""


def import_csv(runtime: Runtime, actor: Actor, tenant_id: str, content: bytes, *, dry_run: bool) -> ImportReport:
    """Import a file of one tenant's users, as a request brings it.

    Raises:
        InvalidUserFile: rows that cannot be imported, or not by this actor; nothing was imported.
        InvalidInput: it has too many lines or passwords for one request.
        NotFound: there is no such tenant.
    """
    tenant = tenant_of_id(runtime, tenant_id)
    if max(map(content.count, (b"\n", b"\r"))) > MOST_LINES_OF_A_REQUEST:
        raise InvalidInput(f"At most {MOST_LINES_OF_A_REQUEST} lines at once; send the file in parts.")
    rows = parse(io.BytesIO(content), tenant.name)
    if sum(row.password is not None for row in rows) > MOST_PASSWORDS_OF_A_REQUEST:
        problem = f"At most {MOST_PASSWORDS_OF_A_REQUEST} passwords at once; send the file in parts, or give hashes."
        raise InvalidInput(problem)
    return import_users(runtime, actor, rows, only=tenant, dry_run=dry_run)


def import_users(
    runtime: Runtime,
    actor: Actor,
    rows: Sequence[UserRow],
    *,
    only: Tenant | None = None,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> ImportReport:
    """Create the users of a file, and change those that exist to what it says.

    A row that says what is already so changes nothing and revokes nothing; a new password ends its user's access
    tokens. What a file does not say (a column that it lacks) stays. Passwords are hashed before the transaction begins,
    and it begins with a look whether all is still as it was.

    Args:
        only: the one tenant that it may be about; None: any, which takes an operator, and those are made that are not.
        dry_run: find out everything and write nothing.
        progress: called as passwords are hashed.

    Raises:
        InvalidUserFile: rows that cannot be imported, each with its line; nothing was imported.
        Taken: users keep being changed meanwhile; or it would take away the last active operator.
    """
    hashes: Hashes = {}
    for _ in range(MOST_ROUNDS):
        with runtime.database.read() as connection:
            known = look(connection, rows)
            runtime.hasher.decoys.refresh(partial(accounts.hash_costs, connection))
        refuse(rows, known, actor, only, runtime.hasher.decoys)
        _hash(runtime, actor, rows, known, hashes, progress, dry_run=dry_run)
        plan = make_plan(rows, known, hashes)
        try:
            if not dry_run:
                _write(runtime, actor, only, plan)
        except _ChangedMeanwhile:
            continue
        return ImportReport(len(plan.new), len(plan.changed), plan.unchanged, tuple(sorted(plan.tenant_ids)))
    raise Taken("Users of this file keep being changed by others. Nothing was imported; please try again.")


def _hash(
    runtime: Runtime,
    actor: Actor,
    rows: Sequence[UserRow],
    known: Known,
    hashes: Hashes,
    progress: Progress | None,
    *,
    dry_run: bool,
) -> None:
    """Find the new hash of every row, or that its password is the one that its user has, and add it to `hashes`.

    A dry run leaves no trace and counts no failure, so over HTTP it does not say whether a password is somebody's.
    """
    is_silent = dry_run and actor.claims is not None
    jobs: list[tuple[HashKey, str]] = []
    for row in rows:
        key = known.key(row)
        if key in hashes:
            continue
        if row.password is None:
            hashes[key] = None if known.has_hash(row) else row.password_hash
        elif is_silent:
            hashes[key] = ""
        else:
            jobs.append((key, row.password))

    def new_hash(job: tuple[HashKey, str]) -> str | None:
        (_, old_hash), password = job
        with turn(runtime, actor):
            if old_hash is not None and runtime.hasher.verify(old_hash, password):
                return None
            return "" if dry_run else runtime.hasher.hash(password)

    done = runtime.hasher.many(jobs, new_hash, lambda count: progress(count, len(jobs)) if progress else None)
    hashes.update({key: found for (key, _), found in zip(jobs, done, strict=True)})


def _write(runtime: Runtime, actor: Actor, only: Tenant | None, plan: Plan) -> None:
    needs, tenant_id = (Role.OPERATOR, None) if only is None else (Role.ADMIN, only.id)
    with change(runtime, actor, needs, tenant_id) as made:
        if made.actor.role is not actor.role:  # by which rows were refused
            raise Forbidden
        operators = lock_operators(made.connection) if plan.touches_operators else 0
        _write_users(runtime, made, plan)
        require_operator(made.connection, operators)
        limits.change_limits(made.connection, plan.limit_changes, made.now)
        added = {"timezone": runtime.settings.timezone}
        made.record_all(Deed("tenant.add", id_, "tenant", name, None, added) for name, id_ in plan.tenant_ids.items())
        made.record_all(plan.deeds)


def _write_users(runtime: Runtime, made: Change, plan: Plan) -> None:
    connection, now = made.connection, made.now
    names = sorted(user.username for user in plan.changed)
    if accounts.find_users(connection, names, lock=True) != {user.username: user for user in plan.changed}:
        raise _ChangedMeanwhile
    new_tenants = accounts.insert_tenants(connection, plan.tenant_ids, runtime.settings.timezone, now)
    if new_tenants < len(plan.tenant_ids) or accounts.insert_users(connection, plan.new, now) < len(plan.new):
        raise _ChangedMeanwhile
    accounts.change_users(connection, plan.changes)
    access_tokens.revoke_of_users(connection, plan.revoked, now)
    invitations.withdraw(connection, plan.revoked)
