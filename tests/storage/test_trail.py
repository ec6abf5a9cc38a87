"""The trail only grows, whatever is tried with the database; and a page of it looks through a bounded part."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from chatapi.logic.runtime import Runtime
from chatapi.storage import trail
from chatapi.storage.trail import Entry, TrailFilter
from tests.support.runtimes import make_runtime

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
ACME, GLOBEX = "00000000-0000-7000-8000-00000000000a", "00000000-0000-7000-8000-00000000000b"


@pytest.fixture
def runtime(database_url: str) -> Iterator[Runtime]:
    made = make_runtime(database_url)
    yield made
    made.database.close()


def entry(number: int, tenant_id: str = ACME) -> Entry:
    return Entry(
        tenant_id=tenant_id, at=NOON, actor=f"admin{number % 2}", actor_id=None, address="", action="user.add",
        subject_kind="user", subject=f"user{number}", before=None, after={"number": number},
    )  # fmt: skip


def add(runtime: Runtime, *entries: Entry) -> None:
    with runtime.database.write() as connection:
        trail.add(connection, *entries)


@pytest.mark.parametrize("statement", ["UPDATE trail SET actor = 'nobody'", "DELETE FROM trail", "TRUNCATE trail"])
def test_the_database_refuses_to_change_or_delete_entries(runtime: Runtime, statement: str) -> None:
    if runtime.database.is_sqlite and statement.startswith("TRUNCATE"):
        statement = "DELETE FROM trail WHERE 1"  # there is no TRUNCATE
    add(runtime, entry(1))
    with pytest.raises(DBAPIError, match="append-only"), runtime.database.engine.begin() as connection:
        connection.execute(text(statement))
    with runtime.database.read() as connection:
        (kept,) = trail.page(connection, TrailFilter(), 10).entries
    assert kept.entry == entry(1)


def test_pages_are_newest_first_and_of_the_tenant_and_filter_that_are_wanted(runtime: Runtime) -> None:
    add(runtime, *(entry(number) for number in range(5)), entry(5, GLOBEX))
    with runtime.database.read() as connection:
        everything = trail.page(connection, TrailFilter(), 10)
        first = trail.page(connection, TrailFilter(ACME, actor="admin0"), 2)
        rest = trail.page(connection, TrailFilter(ACME, actor="admin0", before=first.last), 2)
        none = trail.page(connection, TrailFilter(GLOBEX, subject="user1"), 2)
    assert [kept.entry.subject for kept in everything.entries] == [f"user{number}" for number in (5, 4, 3, 2, 1, 0)]
    assert everything.last is None
    assert [kept.entry.subject for kept in first.entries] == ["user4", "user2"]
    assert [kept.entry.subject for kept in rest.entries] == ["user0"]
    assert (rest.last, none.entries, none.last) == (None, (), None)


def test_a_page_looks_through_a_bounded_part_and_says_where_to_go_on(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trail, "LOOKED_AT", dict.fromkeys(trail.LOOKED_AT, 3))
    add(runtime, *(entry(number) for number in range(7)))
    seen: list[str] = []
    pages, last = 0, None
    while pages == 0 or last is not None:
        with runtime.database.read() as connection:
            page = trail.page(connection, TrailFilter(ACME, last, subject="user0"), 2)
        seen += [kept.entry.subject for kept in page.entries]
        pages, last = pages + 1, page.last
    assert (seen, pages) == (["user0"], 3)
