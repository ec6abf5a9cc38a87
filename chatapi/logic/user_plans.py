"""Plans: what a file of users means for the users that there are; which rows are refused, and what is written."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from uuid_utils import uuid7

from chatapi.domain.actors import Actor, is_above
from chatapi.domain.effective_limits import LimitScope, LimitSetting, Unset
from chatapi.domain.limits import Metric
from chatapi.domain.password_hashes import hash_cost
from chatapi.domain.principals import Role, Status
from chatapi.domain.user_csv import LIMIT_COLUMNS, InvalidUserFile, Problem, UserRow
from chatapi.domain.windows import Window
from chatapi.logic.changes import Deed
from chatapi.logic.decoys import Decoys
from chatapi.storage import accounts, limits
from chatapi.storage.accounts import NewUser, Tenant, Transaction, User
from chatapi.storage.limits import LimitChange

OTHER_PARAMETERS = "password_hash has parameters that no hash here has; give the password, or ask an operator"

HashKey = tuple[int, str | None]  # a row's line, and its user's hash until now
Hashes = dict[HashKey, str | None]  # a row's new hash; None: its password is the one that its user has


@dataclass(frozen=True, slots=True)
class Known:
    """What the database knows of a file's names: tenants by name, users by name, their own daily limits."""

    tenants: dict[str, Tenant]
    users: dict[str, User]
    daily_limits: dict[tuple[str, Metric], LimitSetting]  # by the user's id

    def key(self, row: UserRow) -> HashKey:
        """By which the row's new hash is kept."""
        user = self.users.get(row.username)
        return row.line, user.password_hash if user else None

    def has_hash(self, row: UserRow) -> bool:
        """Whether the hash that the row gives is its user's, or was until a login made a stronger one."""
        user = self.users.get(row.username)
        return user is not None and row.password_hash in (user.password_hash, user.given_hash)

    def limits_of(self, user_id: str, row: UserRow) -> dict[Metric, LimitSetting]:
        """Those of the user's own daily limits that the row speaks of, as they are."""
        return {metric: self.daily_limits.get((user_id, metric), Unset.INHERIT) for metric in row.daily_limits}


@dataclass(slots=True)
class Plan:
    """What has to be written, ready to be written in one go."""

    tenant_ids: dict[str, str] = field(default_factory=dict)  # of tenants to be made, by name
    new: list[NewUser] = field(default_factory=list)
    changed: list[User] = field(default_factory=list)  # as they are until then
    changes: list[dict[str, object]] = field(default_factory=list)  # of `changed`: columns
    limit_changes: list[LimitChange] = field(default_factory=list)
    revoked: list[tuple[str, str]] = field(default_factory=list)
    deeds: list[Deed] = field(default_factory=list)
    unchanged: int = 0

    @property
    def touches_operators(self) -> bool:
        """Whether it might take operators away."""
        return any(user.role is Role.OPERATOR for user in self.changed)


def look(connection: Transaction, rows: Sequence[UserRow]) -> Known:
    """What the database knows of the names of these rows."""
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
    return Known(tenants, users, daily_limits)


def refuse(rows: Sequence[UserRow], known: Known, actor: Actor, only: Tenant | None, decoys: Decoys) -> None:
    """Refuse rows that cannot be imported, or not by this actor.

    Args:
        decoys: of the parameters that hashes have here. Each one more makes every refused login dearer, so only
            operators bring others.
        only: the one tenant whose users may be in it; None: any, and tenants are made.

    Raises:
        InvalidUserFile: with everything that is wrong.
    """
    problems = [Problem(row.line, what) for row in rows for what in _problems(row, known, actor, only)]
    if not actor.is_at_least(Role.OPERATOR):
        given = ((row.line, row.password_hash) for row in rows if row.password_hash and not known.has_hash(row))
        problems += [Problem(line, OTHER_PARAMETERS) for line, text in given if not decoys.has(hash_cost(text))]
    if problems:
        raise InvalidUserFile(problems)


def _problems(row: UserRow, known: Known, actor: Actor, only: Tenant | None) -> Iterator[str]:
    user, tenant = known.users.get(row.username), known.tenants.get(row.tenant)
    if only is not None and (row.tenant != only.name or tenant is None or tenant.id != only.id):  # names change hands
        yield f"tenant must be {only.name!r}, or left out"
        return
    if user is not None and user.tenant_name != row.tenant:
        yield f"username {row.username!r} belongs to another tenant"
        return
    if tenant is not None and tenant.status is Status.CLOSED:
        yield f"tenant {row.tenant!r} is closed"
    elif user is None and not row.has_secret:
        yield f"there is no user {row.username!r}, and a new one needs a password"
    elif user is not None and user.status is Status.CLOSED and row.status is not Status.CLOSED:
        yield f"user {row.username!r} is closed"
    elif row.status is Status.CLOSED and (user is None or user.status is not Status.CLOSED):
        yield "users are closed one by one, and not by a file"
    yield from _beyond(row, user, known, actor)


def _beyond(row: UserRow, user: User | None, known: Known, actor: Actor) -> Iterator[str]:
    """What of a row goes beyond what its actor may do."""
    for role in (row.role, user.role if user else None):
        if role is not None and not actor.is_at_least(role):
            yield f"the role {role} is above yours"
            break
    if user is not None and user.id == actor.user_id and (row.has_secret or _differs(row, user, known)):
        yield "this is you, and nobody changes themselves by a file"


def _differs(row: UserRow, user: User, known: Known) -> bool:
    """Whether a row says other things of its user than are so, its password not looked at."""
    stands = (row.role or user.role, row.status or user.status) == (user.role, user.status)
    return not stands or known.limits_of(user.id, row) != row.daily_limits


def make_plan(rows: Sequence[UserRow], known: Known, hashes: Hashes) -> Plan:
    """What has to be written for rows of which none is refused."""
    plan = Plan()
    for row in rows:
        user = known.users.get(row.username)
        new_hash = hashes[known.key(row)]
        if user is None:
            _plan_new(plan, row, known, new_hash or "")
        elif user.status is Status.CLOSED or (new_hash is None and not _differs(row, user, known)):
            plan.unchanged += 1
        else:
            _plan_change(plan, row, user, known, new_hash)
    return plan


def _plan_new(plan: Plan, row: UserRow, known: Known, password_hash: str) -> None:
    tenant = known.tenants.get(row.tenant)
    tenant_id = tenant.id if tenant else plan.tenant_ids.setdefault(row.tenant, str(uuid7()))
    role, status = row.role or Role.USER, row.status or Status.ACTIVE
    new = NewUser(tenant_id, row.username, role, password_hash, status=status)
    plan.new.append(new)
    told: dict[str, object] = {"id": new.id, "role": role.value, "status": status.value}
    plan.deeds.append(Deed("user.add", tenant_id, "user", row.username, None, told | _told(row.daily_limits)))
    unset = {metric: setting for metric, setting in row.daily_limits.items() if setting is not Unset.INHERIT}
    plan.limit_changes += _limit_changes(tenant_id, new.id, unset)


def _plan_change(plan: Plan, row: UserRow, user: User, known: Known, new_hash: str | None) -> None:
    role, status = row.role or user.role, row.status or user.status
    before = known.limits_of(user.id, row)
    different = {metric: setting for metric, setting in row.daily_limits.items() if setting != before[metric]}
    plan.changed.append(user)
    plan.limit_changes += _limit_changes(user.tenant_id, user.id, different)
    if new_hash is not None or status is not Status.ACTIVE or is_above(role, user.role):
        plan.revoked.append((user.tenant_id, user.id))
    secret = (user.password_hash, user.given_hash) if new_hash is None else (new_hash, None)
    values = {"role": role.value, "status": status.value, "password_hash": secret[0], "given_hash": secret[1]}
    plan.changes.append({"tenant_id": user.tenant_id, "user_id": user.id, **values})
    was: dict[str, object] = {"role": user.role.value, "status": user.status.value} | _told(before)
    now: dict[str, object] = {"role": role.value, "status": status.value} | _told(row.daily_limits)
    if new_hash is not None:
        now["password"] = "set"
    plan.deeds.append(Deed("user.import", user.tenant_id, "user", user.username, was, now))


def _limit_changes(tenant_id: str, user_id: str, settings: Mapping[Metric, LimitSetting]) -> list[LimitChange]:
    return [
        LimitChange(tenant_id, LimitScope.USER, user_id, metric, Window.DAY, setting)
        for metric, setting in settings.items()
    ]


def _told(settings: Mapping[Metric, LimitSetting]) -> dict[str, object]:
    """Daily limits as the trail tells them, by the file's columns."""
    names = {metric: column for column, metric in LIMIT_COLUMNS.items()}
    return {names[metric]: setting for metric, setting in settings.items()}
