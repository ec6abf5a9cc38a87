"""Calls that were in flight when a backup was made: charged at their holds, until a journal tells how they ended."""

from __future__ import annotations

import base64
import os
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, insert, select

from chatapi.domain.calls import AttemptState, CallState, Charge, Grant, Settlement
from chatapi.domain.principals import Claims
from chatapi.domain.usage import Usage, UsageSource
from chatapi.errors import InvalidInput
from chatapi.logic import audit, installation
from chatapi.logic.backup import back_up_to_file
from chatapi.logic.restore import restore
from chatapi.logic.runtime import Runtime
from chatapi.logic.tokens import exchange
from chatapi.logic.users import user_of_name
from chatapi.storage import leases
from chatapi.storage.journal import Journal
from chatapi.storage.ledger import new_id
from chatapi.storage.tables import calls, idempotency_keys
from tests.concurrency.world import ask
from tests.support import administration
from tests.support.logins import NOON
from tests.support.postgres import DATABASES, FreshDatabase
from tests.support.runtimes import make_runtime
from tests.support.webhooks import add_webhook

KEY, OTHER_KEY = (base64.urlsafe_b64encode(os.urandom(32)).decode() for _ in range(2))
UPSTREAM = Usage(5, 0, 7, 0, UsageSource.UPSTREAM)


def nothing(_done: int, _there: int) -> None:
    """No progress is shown."""


@pytest.fixture(params=DATABASES)
def runtimes(request: pytest.FixtureRequest, fresh_database: FreshDatabase) -> Iterator[tuple[Runtime, Runtime]]:
    """An installation on one kind of database, and an empty one on the other."""
    kinds = [request.param, *(kind for kind in DATABASES if kind != request.param)]
    made = [make_runtime(fresh_database(kind), daily_requests=None) for kind in kinds]
    yield made[0], made[1]
    for each in made:
        each.database.close()


def state_of(runtime: Runtime, call_id: str) -> tuple[str, int]:
    """The state of a call, and how many tokens it was charged."""
    with runtime.database.read() as connection:
        row = connection.execute(select(calls).where(calls.c.id == call_id)).one()
    return row.state, row.prompt_tokens + row.completion_tokens


def test_the_truth_of_a_journal_corrects_what_a_restore_has_charged(
    runtimes: tuple[Runtime, Runtime], tmp_path: Path
) -> None:
    old, new = runtimes
    administration.add_user(old, "demo", "secret")
    installation_id = installation.check_installation(old)
    leases.renew(old.database, old.running.worker_id)
    token = exchange(old, "demo", "secret", "192.0.2.1").access_token
    claims = Claims(token.tenant_id, token.user_id, token.jti)
    decision = old.writer.submit(ask(claims, old.running.worker_id))
    assert isinstance(decision, Grant)
    back_up_to_file(old, tmp_path / "backup.zip", nothing)
    journal = Journal(tmp_path / "journal", installation_id)
    charge = Charge(answered=True, usage=UPSTREAM)
    journal.append([Settlement(decision.call, CallState.SETTLED, charge, "completed", AttemptState.ANSWERED)])
    journal.close()

    done = restore(new, tmp_path / "backup.zip", nothing)
    assert done.expired_calls == 1
    assert state_of(new, decision.call.call_id) == ("expired", decision.call.hold.tokens)
    assert audit.run(new) == []
    assert installation.check_installation(new) == installation_id
    new.writer.keep_in(Journal(tmp_path / "journal", installation_id))
    new.writer.adopt()
    assert new.writer.repay() == 0
    assert state_of(new, decision.call.call_id) == ("settled", 12)
    assert audit.run(new) == []
    new.writer.close()


def test_large_replies_are_few_at_a_time_in_memory(runtimes: tuple[Runtime, Runtime], tmp_path: Path) -> None:
    old, new = runtimes
    administration.add_user(old, "demo", "secret")
    user = user_of_name(old, "demo")
    place = {"tenant_id": user.tenant_id, "user_id": user.id, "request_digest": "", "expires_at": NOON}
    for number in range(60):
        row = {**place, "key_digest": str(number), "call_id": new_id(), "reply": bytes(2**18)}
        with old.database.write() as connection:
            connection.execute(insert(idempotency_keys).values(row))
    tracemalloc.start()
    try:
        back_up_to_file(old, tmp_path / "backup.zip", nothing)
        restore(new, tmp_path / "backup.zip", nothing)
        assert tracemalloc.get_traced_memory()[1] < 20 * 2**20
    finally:
        tracemalloc.stop()
    with new.database.read() as connection:
        assert connection.execute(select(func.count()).select_from(idempotency_keys)).scalar_one() == 60


@pytest.mark.parametrize("with_secrets", [False, True])
def test_an_encryption_key_that_is_not_the_backup_s_is_told(
    fresh_database: FreshDatabase, tmp_path: Path, with_secrets: bool
) -> None:
    made = [make_runtime(fresh_database("sqlite"), encryption_keys=key) for key in (KEY, KEY, OTHER_KEY)]
    add_webhook(made[0], administration.add_tenant(made[0], "acme").id)
    back_up_to_file(made[0], tmp_path / "backup.zip", nothing, with_secrets=with_secrets)
    told = ["CHATAPI_ENCRYPTION_KEYS" in str(restore(new, tmp_path / "backup.zip", nothing).to_do) for new in made[1:]]
    assert told == [False, True]
    for each in made:
        each.database.close()


def test_secrets_that_cannot_be_kept_are_told(fresh_database: FreshDatabase, tmp_path: Path) -> None:
    """What was restored is restored: nobody is left with a traceback."""
    old = make_runtime(fresh_database("sqlite"), encryption_keys=KEY)
    back_up_to_file(old, tmp_path / "backup.zip", nothing, with_secrets=True)
    (tmp_path / "no-folder").write_text("")
    unset: dict[str, Any] = {"jwt_secret_key": "", "encryption_keys": "", "var_dir": tmp_path / "no-folder"}
    new = make_runtime(fresh_database("sqlite"), **unset)
    told = str(restore(new, tmp_path / "backup.zip", nothing).to_do)
    assert "The JWT secret here is not that of the backup" in told
    assert "Set CHATAPI_ENCRYPTION_KEYS" in told
    for each in (old, new):
        each.database.close()


def test_what_goes_wrong_elsewhere_is_not_said_of_the_file(fresh_database: FreshDatabase, tmp_path: Path) -> None:
    """As with `chatapi db restore FILE 2>&1 | head`: whoever hears of the progress has gone."""

    def unheard(_done: int, _there: int) -> None:
        raise BrokenPipeError

    old, new = (make_runtime(fresh_database("sqlite")) for _ in range(2))
    back_up_to_file(old, tmp_path / "backup.zip", nothing)
    with pytest.raises(BrokenPipeError):
        restore(new, tmp_path / "backup.zip", unheard)
    with pytest.raises(InvalidInput, match="cannot be read: Is a directory"):
        restore(new, tmp_path, nothing)
    restore(new, tmp_path / "backup.zip", nothing)
    for each in (old, new):
        each.database.close()
