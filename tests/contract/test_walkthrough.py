"""The walkthroughs of the documentation, typed again: what they say is what an operator sees."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from chatapi.settings import PROJECT_ROOT
from tests.support.gateway import ONE_WORKER, MakeGateway
from tests.support.postgres import Postgres
from tests.support.processes import free_port
from tests.support.transcripts import Step, steps_of, terminal

DOCS = PROJECT_ROOT / "docs"
SETTINGS = {**ONE_WORKER, "CHATAPI_WEBHOOK_PRIVATE_ADDRESSES": "true", "CHATAPI_RENEW_S": "0.5"}

pytestmark = [
    pytest.mark.usefixtures("far_from_midnight", "early_in_a_minute"),
    pytest.mark.skipif(
        not (shutil.which("bash") and shutil.which("curl")), reason="they are typed into bash, with curl"
    ),
]


def type_again(document: Path, database_url: str, other_url: str, make_gateway: MakeGateway, folder: Path) -> None:
    """Run a document's commands before a gateway on one database, with an empty one to restore into."""
    steps = steps_of(document)
    assert len(steps) > 30
    gateway = make_gateway(database_url, upstream_url=None, environment=SETTINGS, arguments=("--demo",))
    (folder / "serve.log").symlink_to(gateway.log_path)
    given = {"URL": gateway.base_url, "RECEIVER_PORT": str(free_port()), "OTHER_DATABASE_URL": other_url}
    with terminal(folder, {**gateway.environment, **given}) as shell:
        for step in steps:
            said = shell.run(step.command)
            expected = "\n".join(step.said)
            assert step.fits(said), f"{document.name}, line {step.line}: {step.command}\n{said}\nand not\n{expected}"


def test_the_walkthrough_by_commands(
    sqlite_url: str, postgres: Postgres, make_gateway: MakeGateway, tmp_path: Path
) -> None:
    empty = postgres.create_empty()
    try:
        type_again(DOCS / "operations.md", sqlite_url, postgres.url(empty), make_gateway, tmp_path)
    finally:
        postgres.drop(empty)


def test_the_walkthrough_over_http(postgres_url: str, make_gateway: MakeGateway, tmp_path: Path) -> None:
    empty = f"sqlite:///{tmp_path / 'other.sqlite3'}"
    type_again(DOCS / "administration" / "http.md", postgres_url, empty, make_gateway, tmp_path)


@pytest.mark.parametrize(
    ("written", "said", "fits"),
    [
        ("a  b", "a      b", True),
        ("a b", "a      b", False),
        ("used 3", "used 4", False),
        ("of 2026-11-21 at 2026-11-21T16:00:00Z", "of 2027-01-02 at 2027-01-02T03:04:05.678Z", True),
        ("of 2026-11-21", "of today", False),
        ("one\n…\nfour", "one\ntwo\nthree\nfour", True),
        ("one\n…\nfour", "one\ntwo\nthree", False),
        ('{"a":1,…', '{"a":1,"b":2}', True),
        ("", "Error: no", False),
        ("one\ntwo", "one\n\ntwo", False),
        ("done", "done\nError: no", False),
    ],
)
def test_a_transcript_fits_what_differs_only_by_what_differs_each_time(written: str, said: str, fits: bool) -> None:
    assert Step(1, "", tuple(written.splitlines())).fits(said) is fits
