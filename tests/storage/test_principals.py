"""What an admission reads of a principal: found by keys, however many others its tenant has."""

from __future__ import annotations

import re

from chatapi.domain.limits import Metric, Scope
from chatapi.domain.windows import Window
from chatapi.storage import principals
from chatapi.storage.given import sqlite_of
from chatapi.storage.grants import LimitGrant, insert_grant
from tests.concurrency.model import utc
from tests.concurrency.world import LastingDatabase, World
from tests.storage.prepared import plans

NOON = utc("2026-11-21T12:00:00")


def test_the_limits_of_other_users_are_not_read_through(emptied: LastingDatabase) -> None:
    """In the key of `limits` ids stand behind scopes, which must be named for that."""
    world = emptied.world(NOON)
    world.add_tenant("acme")
    ann, bob = world.add_user("ann", "acme"), world.add_user("bob", "acme")
    tenant_id = ann.tenant_id
    of_scopes = (("user", ann.user_id), ("user", bob.user_id), ("each_user", tenant_id), ("tenant", tenant_id))
    for value, (scope, scope_id) in enumerate(of_scopes):
        world.set_limit(scope, scope_id, Metric.TOKENS, Window.DAY, value, tenant_id=tenant_id)
    asker = (ann, world.worker())
    with world.database.write() as connection:
        facts = principals.facts(connection, world.ledger._book, [asker], {}, lambda _: NOON)
    assert sorted(limit.value for limit in facts[asker].rules.limits) == [0, 3]
    (plan,) = _looks_up("limits", world)
    assert re.search(r"\bscope ?=.*\bscope_id ?=", plan), plan


def test_the_grants_of_other_users_and_other_days_are_not_read_through(emptied: LastingDatabase) -> None:
    world = emptied.world(NOON)
    world.add_tenant("acme")
    ann, bob = world.add_user("ann", "acme"), world.add_user("bob", "acme")
    per_day = (Metric.REQUESTS, Window.DAY)
    with world.database.write() as connection:
        for value, (who, day) in enumerate(((ann, "2026-11-21"), (ann, "2026-11-20"), (bob, "2026-11-21")), start=1):
            grant = LimitGrant(who.tenant_id, Scope.USER, who.user_id, *per_day, day, "", value, "", NOON, NOON)
            insert_grant(connection, grant)
    for who in (ann, bob):
        world.set_limit("user", who.user_id, *per_day, 10, tenant_id=who.tenant_id)
    worker_id = world.worker()
    askers = [(ann, worker_id), (bob, worker_id)]
    for day, expected in (("2026-11-21", (11, 13)), ("2026-11-20", (12, 10)), ("", (10, 10))):
        with world.database.write() as connection:
            days = {ann.tenant_id: day}
            facts = principals.facts(connection, world.ledger._book, askers, days, lambda _: NOON)
        assert tuple(limit.value for asker in askers for limit in facts[asker].rules.limits) == expected
    (plan,) = _looks_up("grants", world)
    assert re.search(r"\bscope_id ?=.*\bwindow_key ?=", plan), plan


def test_a_user_s_other_access_tokens_are_not_read_through_and_another_user_s_is_none(emptied: LastingDatabase) -> None:
    world = emptied.world(NOON)
    world.add_tenant("acme")
    ann, bob = world.add_user("ann", "acme"), world.add_user("bob", "acme")
    worker_id = world.worker()
    stolen = (ann._replace(jti=bob.jti), worker_id)
    with world.database.write() as connection:
        facts = principals.facts(connection, world.ledger._book, [(ann, worker_id), stolen], {}, lambda _: NOON)
    assert facts[ann, worker_id].in_force
    assert not facts[stolen].in_force
    (plan,) = _looks_up("access_tokens", world)
    assert re.search(r"\bjti ?=", plan), plan


def _looks_up(table: str, world: World) -> list[str]:
    """What the plan says of how it looks rows up in this table."""
    return re.findall(rf"(?:SEARCH|Index.* Scan using).*\b{table}\b.*\s*(?:Index Cond: .*)?", _plan_of_facts(world))


def _plan_of_facts(world: World) -> str:
    """As the database says it. The statement has been run."""
    ((statement, values_of),) = principals._FACTS._texts[world.database.is_sqlite, True]
    row = dict.fromkeys(("tenant_id", "user_id", "jti", "worker_id", "day"), "")
    with world.database.write() as connection:
        if world.database.is_sqlite:
            found = sqlite_of(connection).execute(f"EXPLAIN QUERY PLAN {statement}", values_of(row)).fetchall()
            return "\n".join(each[-1] for each in found)
        return plans(connection)[statement]
