"""`chatapi backup` and `chatapi restore`: what serves on one kind of database serves on from the other."""

from __future__ import annotations

import hashlib
import json
import stat
import subprocess
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.damaged_backups import DAMAGES, rewrite, twice_the_first_user
from tests.support.faults import FaultyUpstream
from tests.support.gateway import JWT_SECRET, ONE_WORKER, Gateway, MakeGateway
from tests.support.http import Http
from tests.support.limits import PATH, ask
from tests.support.postgres import DATABASES, FreshDatabase
from tests.support.processes import chatapi_command, clean_environment
from tests.support.routes import messages

pytestmark = pytest.mark.usefixtures("far_from_midnight")

OTHER = dict(zip(DATABASES, reversed(DATABASES), strict=True))


@pytest.fixture(scope="module", params=DATABASES)
def source(
    request: pytest.FixtureRequest, lasting_database: FreshDatabase, make_lasting_gateway: MakeGateway
) -> Gateway:
    """A gateway that has done something of everything."""
    made = make_lasting_gateway(lasting_database(request.param), environment=ONE_WORKER, start=False)
    made.start_with_users()
    user = made.users.take("many")
    token = made.token(user)
    for number in range(3):
        body = {"model": "tiny", "messages": messages(f"hello {number}")}
        answer = made.http.post(PATH, json=body, access_token=token, headers={"Idempotency-Key": f"key-{number}"})
        assert answer.status_code == 200
    assert ask(made, token, "fault:status-500").status_code >= 500
    made.cli("limits", "set", "7", "--user", user.name, "--window", "month", "--model", "tiny")
    made.cli("webhooks", "add", "https://alerts.example/", "--tenant", user.tenant)
    return made


@pytest.fixture
def kind(source: Gateway) -> str:
    """What the source's database is not."""
    return OTHER["sqlite" if source.database_url.startswith("sqlite") else "postgresql"]


@pytest.fixture
def new(kind: str, fresh_database: FreshDatabase, make_gateway: MakeGateway) -> Gateway:
    """An installation that is not started, on an empty database of the other kind."""
    return make_gateway(fresh_database(kind), environment=ONE_WORKER, start=False)


def contents(path: Path) -> dict[str, list[str]]:
    """The rows of a backup by table, sorted."""
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if name.startswith("tables/")]
        return {name: sorted(archive.read(name).decode().splitlines()) for name in names}


def manifest_of(path: Path) -> dict[str, Any]:
    with zipfile.ZipFile(path) as archive:
        found: dict[str, Any] = json.loads(archive.read("manifest.json"))
    return found


def test_what_is_restored_is_what_was_backed_up_and_serves_on(source: Gateway, new: Gateway, tmp_path: Path) -> None:
    user = source.users.take("many")
    token = source.token(user)
    assert ask(source, token).status_code == 200
    first, second = tmp_path / "first.zip", tmp_path / "second.zip"
    source.cli("backup", str(first))
    said = new.cli("restore", str(first))
    assert "of calls that were in flight then, 0 expired" in said
    new.cli("backup", str(second))
    assert contents(first) == contents(second)
    assert len(contents(first)["tables/calls.jsonl"]) >= 5
    assert manifest_of(first)["installation_id"] == manifest_of(second)["installation_id"] is not None
    assert source.usage() == new.usage() != []
    new.cli("audit")
    new.start()
    before = source.http.get("/v1/me", access_token=token).json()
    after = new.http.get("/v1/me", access_token=token).json()
    assert [limit["used"] for limit in after["limits"]] == [limit["used"] for limit in before["limits"]]
    assert after["access_token"] == before["access_token"]
    assert ask(new, token).status_code == 200
    new.cli("audit")


def test_a_backup_under_load_is_one_instant(
    source: Gateway, new: Gateway, faults: FaultyUpstream, tmp_path: Path, marker: str
) -> None:
    tokens = [source.token(source.users.take("many")) for _ in range(4)]
    enough, done, answered = threading.Event(), threading.Event(), list[int]()

    def load(token: str) -> None:
        http = Http(source.base_url)
        while not done.is_set():
            body = {"model": "tiny", "messages": messages("hello")}
            answered.append(http.post(PATH, json=body, access_token=token).status_code)
            if len(answered) > 40:
                enough.set()
        http.close()

    callers = [threading.Thread(target=load, args=(token,)) for token in tokens]
    callers.append(threading.Thread(target=ask, args=(source, tokens[0], f"{marker} fault:gate-{marker}")))
    for caller in callers:
        caller.start()
    try:
        assert enough.wait(30)
        faults.await_about(marker, count=1)
        before = len(answered)
        source.cli("backup", str(tmp_path / "backup.zip"))
        assert len(answered) > before, "nobody called while the backup was made"
    finally:
        done.set()
        faults.open_gate(marker)
        for caller in callers:
            caller.join(30)
    assert set(answered) == {200}
    rows = [json.loads(row) for row in contents(tmp_path / "backup.zip")["tables/calls.jsonl"]]
    calls = manifest_of(tmp_path / "backup.zip")["tables"]
    (columns,) = [table["columns"] for table in calls if table["name"] == "calls"]
    held = [row for row in rows if row[columns.index("state")] == "held"]
    assert 1 <= len(held) <= 5
    said = new.cli("restore", str(tmp_path / "backup.zip"))
    assert f"{len(held)} expired" in said
    new.cli("audit")
    settled = sum(row[columns.index("state")] == "settled" for row in rows)
    assert sum(row["requests"] for row in new.usage()) == settled


def test_the_file_is_its_owners_only_and_standard_output_takes_the_same(source: Gateway, tmp_path: Path) -> None:
    path = tmp_path / "backup.zip"
    path.write_text("an older one")
    source.cli("backup", str(path))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["backup.zip"]
    piped = subprocess.run(
        [*chatapi_command(), "backup", "-"],
        env=clean_environment(source.environment),
        cwd=tmp_path,
        capture_output=True,
        timeout=60,
        check=True,
    )
    (tmp_path / "piped.zip").write_bytes(piped.stdout)
    assert contents(tmp_path / "piped.zip").keys() == contents(path).keys()
    assert "secrets.json" not in zipfile.ZipFile(path).namelist()
    refused = source.run("backup", str(tmp_path / "no-such-folder" / "backup.zip"))
    assert refused.returncode == 1
    assert "cannot be written" in refused.stderr


def test_secrets_are_carried_where_they_are_asked_for(
    source: Gateway, new: Gateway, kind: str, fresh_database: FreshDatabase, tmp_path: Path
) -> None:
    plain, whole = tmp_path / "plain.zip", tmp_path / "whole.zip"
    source.cli("backup", str(plain))
    source.cli("backup", str(whole), "--with-secret")
    unset = {"CHATAPI_JWT_SECRET_KEY": "", "CHATAPI_ENCRYPTION_KEYS": ""}
    said = new.cli("restore", str(plain), environment=unset)
    var = Path(new.environment["CHATAPI_VAR_DIR"])
    assert "The JWT secret here is not that of the backup" in said
    assert "There is no encryption key here" in said
    assert not (var / "jwt_secret_key").exists()
    again = {**unset, "CHATAPI_DATABASE_URL": fresh_database(kind)}
    said = new.cli("restore", str(whole), environment=again)
    assert "secret" not in said
    assert (var / "jwt_secret_key").read_text() == JWT_SECRET
    assert stat.S_IMODE((var / "encryption_key").stat().st_mode) == 0o600
    source_key = Path(source.environment["CHATAPI_VAR_DIR"]) / "encryption_key"
    assert (var / "encryption_key").read_text() == source_key.read_text()


def test_a_database_that_is_not_empty_or_not_migrated_is_refused(
    source: Gateway, new: Gateway, tmp_path: Path, make_gateway: MakeGateway
) -> None:
    path = tmp_path / "backup.zip"
    source.cli("backup", str(path))
    new.cli("users", "add", "somebody", "--password-stdin", stdin="a password\n")
    refused = new.run("restore", str(path))
    assert refused.returncode == 1
    assert "The database is not empty" in refused.stderr
    assert len(json.loads(new.cli("users", "list", "--json"))) == 1
    empty = make_gateway(f"sqlite:///{tmp_path / 'empty.sqlite3'}", start=False)
    assert "chatapi db upgrade" in empty.run("restore", str(path)).stderr


def test_what_is_damaged_is_refused_and_nothing_is_written(source: Gateway, new: Gateway, tmp_path: Path) -> None:
    whole, path = tmp_path / "whole.zip", tmp_path / "damaged.zip"
    source.cli("backup", str(whole))
    for what, damage in DAMAGES.items():
        path.write_bytes(whole.read_bytes())
        damage(path)
        refused = new.run("restore", str(path))
        assert refused.returncode == 1, what
        assert "Traceback" not in refused.stderr, (what, refused.stderr)
        assert json.loads(new.cli("users", "list", "--json")) == [], what
    assert "0000" in refused_by(new, whole, path, DAMAGES["of another schema"])
    assert "version 2" in refused_by(new, whole, path, DAMAGES["of another format"])
    new.cli("restore", str(whole))


def refused_by(new: Gateway, whole: Path, path: Path, damage: Callable[[Path], None]) -> str:
    path.write_bytes(whole.read_bytes())
    damage(path)
    return new.run("restore", str(path)).stderr


def test_a_row_that_does_not_fit_undoes_all_the_others(source: Gateway, new: Gateway, tmp_path: Path) -> None:
    """Of one whose checksums are right: somebody has made it by hand."""
    path = tmp_path / "backup.zip"
    source.cli("backup", str(path))
    users = b""

    def doubled(name: str, content: bytes) -> bytes:
        nonlocal users
        if name == "tables/users.jsonl":
            users = content = twice_the_first_user(name, content)
        if name == "manifest.json":
            said = json.loads(content)
            (table,) = [table for table in said["tables"] if table["name"] == "users"]
            table.update(rows=table["rows"] + 1, sha256=hashlib.sha256(users).hexdigest())
            return json.dumps(said).encode()
        return content

    rewrite(doubled)(path)
    refused = new.run("restore", str(path))
    assert (refused.returncode, "users does not fit" in refused.stderr) == (1, True), refused.stderr
    assert json.loads(new.cli("users", "list", "--json")) == []
