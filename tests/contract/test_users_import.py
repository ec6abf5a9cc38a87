"""CONTRACT §8: `chatapi users import FILE.csv`, whole or not at all."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
from argon2 import PasswordHasher

from tests.support.faults import FaultyUpstream
from tests.support.gateway import Gateway, MakeGateway
from tests.support.postgres import FreshDatabase
from tests.support.routes import API
from tests.support.users import CHEAP_HASH, PASSWORD

PLAIN_PASSWORD_HASH = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash("plain")


def write(path: Path, text: str) -> str:
    path.write_bytes(text.encode())
    return str(path)


def numbers_in(text: str) -> set[int]:
    """The line numbers that a message names."""
    return {int(number) for number in re.findall(r"\blines?[ :]+(\d+)", text, re.IGNORECASE)}


def is_known(gateway: Gateway, username: str, password: str = PASSWORD) -> bool:
    status = gateway.exchange(username, password, address=gateway.address()).status_code
    assert status in (200, 201, 401)
    return status != 401


def test_a_file_of_usernames_and_passwords_is_enough(gateway: Gateway, users_csv: Path, marker: str) -> None:
    gateway.cli("users", "import", write(users_csv, f"username,password\n{marker}-1,one\n{marker}-2,two\n"))
    assert is_known(gateway, f"{marker}-1", "one")
    assert is_known(gateway, f"{marker}-2", "two")
    assert not is_known(gateway, f"{marker}-2", "one")


def test_bom_crlf_quotes_and_empty_lines_are_read(gateway: Gateway, users_csv: Path, marker: str) -> None:
    text = f'\ufeff"username","password","tenant"\r\n"{marker}, ü","a ""quoted"", pässword","{marker} & co"\r\n\r\n'
    gateway.cli("users", "import", write(users_csv, text))
    assert is_known(gateway, f"{marker}, ü", 'a "quoted", pässword')


def test_columns_may_stand_in_any_order_and_set_the_quota(gateway: Gateway, users_csv: Path, marker: str) -> None:
    text = f'daily_requests,password_hash,username,tenant\n1,"{CHEAP_HASH}",{marker},{marker}-tenant\n'
    gateway.cli("users", "import", write(users_csv, text))
    token = gateway.exchange(marker).json()["message"]["token"]
    assert [API.ask(gateway, "hello", token).status_code for _ in range(2)] == [200, 429]


def test_every_bad_line_is_reported_and_nothing_is_imported(gateway: Gateway, users_csv: Path, marker: str) -> None:
    lines = [
        "username,password,tenant,role,daily_requests,daily_tokens,password_hash",
        f"{marker}-good,secret-of-a-line,{marker},user,,,",  # 2
        f",secret-of-a-line,{marker},user,,,",  # 3: no name
        f"{marker}-4,,{marker},user,,,",  # no password
        f"{marker}-5,secret-of-a-line,{marker},king,,,",  # no such role
        f"{marker}-6,secret-of-a-line,{marker},user,many,,",  # no number
        f"{marker}-7,secret-of-a-line,{marker},user,,-5,",  # negative
        f"{marker}-8,,{marker},user,,,md5:abc",  # no argon2id hash
        f"{marker}-9,secret-of-a-line,{marker},user,,,,,too,many",  # too many columns
        f"{marker}-good-too,secret-of-a-line,{marker},user,5,,",  # 10
    ]
    done = gateway.run("users", "import", write(users_csv, "\n".join(lines) + "\n"))
    assert done.returncode != 0
    said = done.stdout + done.stderr
    assert numbers_in(said) == {3, 4, 5, 6, 7, 8, 9}, said
    assert "Traceback" not in said
    assert "secret-of-a-line" not in said
    assert not is_known(gateway, f"{marker}-good", "secret-of-a-line")
    assert not is_known(gateway, f"{marker}-good-too", "secret-of-a-line")


@pytest.mark.parametrize(
    "text",
    ["", "\n", "username\nsomeone\n", "password\nsecret\n", "name,password\na,b\n", "a,b\n", "username,username\na,b\n",
     "username,password,shoe_size\na,b,43\n", '"username","password"\n"a,b\n'],
    ids=repr,
)  # fmt: skip
def test_a_file_that_is_no_such_table_is_refused(
    make_gateway: MakeGateway, sqlite_url: str, users_csv: Path, text: str
) -> None:
    done = make_gateway(sqlite_url, start=False).run("users", "import", write(users_csv, text))
    assert done.returncode != 0
    assert (done.stdout + done.stderr).strip()
    assert "Traceback" not in done.stderr


def test_a_file_that_is_not_there_or_no_text_is_refused(gateway: Gateway, users_csv: Path) -> None:
    missing = gateway.run("users", "import", str(users_csv))
    users_csv.write_bytes(b"username,password\n\xff\xfe\x00,secret\n")
    binary = gateway.run("users", "import", str(users_csv))
    for done in (missing, binary):
        assert done.returncode != 0
        assert "Traceback" not in done.stderr


def test_a_name_that_stands_twice_with_different_content_is_reported(
    gateway: Gateway, users_csv: Path, marker: str
) -> None:
    done = gateway.run("users", "import", write(users_csv, f"username,password\n{marker},one\n{marker},two\n"))
    assert done.returncode != 0
    assert 3 in numbers_in(done.stdout + done.stderr)
    assert not is_known(gateway, marker, "one")


def test_a_dry_run_checks_everything_and_changes_nothing(gateway: Gateway, users_csv: Path, marker: str) -> None:
    gateway.cli("users", "import", write(users_csv, f"username,password\n{marker},secret\n"), "--dry-run")
    assert not is_known(gateway, marker, "secret")
    bad = gateway.run("users", "import", write(users_csv, f"username,password\n{marker},\n"), "--dry-run")
    assert bad.returncode != 0
    assert numbers_in(bad.stdout + bad.stderr) == {2}


def test_an_unchanged_row_revokes_nothing_and_a_new_password_does(
    gateway: Gateway, users_csv: Path, marker: str
) -> None:
    write(users_csv, f"username,password\n{marker},secret\n")
    gateway.cli("users", "import", str(users_csv))
    before = gateway.exchange(marker, "secret")
    gateway.cli("users", "import", str(users_csv))
    after = gateway.exchange(marker, "secret")
    assert [before.status_code, after.status_code] == [201, 200]
    assert before.json() == after.json()
    gateway.cli("users", "import", write(users_csv, f'username,password_hash\n{marker},"{PLAIN_PASSWORD_HASH}"\n'))
    assert API.ask(gateway, "hello", before.json()["message"]["token"]).status_code == 401
    assert gateway.exchange(marker, "plain").status_code == 201


def test_a_name_of_another_tenant_is_an_error(gateway: Gateway, users_csv: Path, marker: str) -> None:
    row = f'username,password_hash,tenant\n{marker},"{CHEAP_HASH}",{marker}-'
    gateway.cli("users", "import", write(users_csv, f"{row}a\n"))
    done = gateway.run("users", "import", write(users_csv, f"{row}b\n"))
    assert done.returncode != 0
    assert 2 in numbers_in(done.stdout + done.stderr)
    assert is_known(gateway, marker)


@pytest.mark.no_cover
@pytest.mark.slow
def test_ten_thousand_users_with_hashes_take_under_twenty_seconds(
    fresh_database: FreshDatabase, faults: FaultyUpstream, users_csv: Path
) -> None:
    """On PostgreSQL `bench.import_users` does so."""
    installation = Gateway(fresh_database("sqlite"), upstream_url=faults.url, start=False)
    rows = (f'user-{number},tenant-{number % 50},"{CHEAP_HASH}"\n' for number in range(10_000))
    write(users_csv, "username,tenant,password_hash\n" + "".join(rows))
    started = time.monotonic()
    installation.cli("users", "import", str(users_csv))
    assert time.monotonic() - started < 20
    assert installation.cli("users", "list").count("user-") >= 10_000
    installation.close()


@pytest.mark.no_cover
@pytest.mark.slow
def test_a_hundred_thousand_lines_are_checked_to_the_last(gateway: Gateway, users_csv: Path, marker: str) -> None:
    rows = [f'{marker}-{number},"{CHEAP_HASH}",' for number in range(100_000)]
    rows[49_998], rows[-1] = f',"{CHEAP_HASH}",', f'{marker}-last,"{CHEAP_HASH}",many'
    write(users_csv, "username,password_hash,daily_requests\n" + "\n".join(rows) + "\n")
    done = gateway.run("users", "import", str(users_csv))
    assert done.returncode != 0
    assert numbers_in(done.stdout + done.stderr) == {50_000, 100_001}
    assert not is_known(gateway, f"{marker}-0")
