"""The CSV of users: what is read, and that every bad line is named with what is wrong."""

from __future__ import annotations

import io
import time

import pytest

from chatapi.domain.effective_limits import LimitSetting, Unset
from chatapi.domain.limits import Metric
from chatapi.domain.principals import Role, Status
from chatapi.domain.user_csv import InvalidUserFile, UserRow, parse

HASH = "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$" + "A" * 43
HEADER = "username,password,tenant,role,daily_requests,daily_tokens,password_hash\n"


def rows(content: str | bytes) -> list[UserRow]:
    return parse(io.BytesIO(content) if isinstance(content, bytes) else io.StringIO(content))


def problems(content: str | bytes) -> list[str]:
    with pytest.raises(InvalidUserFile) as caught:
        rows(content)
    assert str(caught.value) == "\n".join(map(str, caught.value.problems))
    return [str(problem) for problem in caught.value.problems]


def test_a_name_and_a_password_are_enough() -> None:
    assert rows("username,password\ndemo,secret word\n") == [UserRow(2, "demo", "default", None, "secret word")]


def test_columns_come_in_any_order() -> None:
    text = f'daily_tokens,tenant,password_hash,Role, username ,daily_requests\nunlimited,acme,"{HASH}",admin,demo,\n'
    limits: dict[Metric, LimitSetting] = {Metric.REQUESTS: Unset.INHERIT, Metric.TOKENS: Unset.UNLIMITED}
    assert rows(text) == [UserRow(2, "demo", "acme", Role.ADMIN, None, HASH, limits)]


def test_empty_cells_mean_the_default_tenant_a_plain_user_and_inherited_limits() -> None:
    (row,) = rows(HEADER + "demo,secret,,,,,\n")
    assert (row.tenant, row.role) == ("default", Role.USER)
    assert row.daily_limits == {Metric.REQUESTS: Unset.INHERIT, Metric.TOKENS: Unset.INHERIT}


def test_without_a_column_there_is_nothing_to_change() -> None:
    (row,) = rows("username,password,daily_requests\ndemo,secret,0\n")
    assert row.role is None
    assert row.daily_limits == {Metric.REQUESTS: 0}


def test_a_file_without_passwords_changes_what_users_are() -> None:
    (row,) = rows("username,tenant,role,status\ndemo,acme,admin,Disabled\n")
    assert (row.has_secret, row.role, row.status) == (False, Role.ADMIN, Status.DISABLED)
    assert problems("username,status\ndemo,gone\n") == ["line 2: status must be active, disabled or closed"]


def test_rows_without_a_tenant_are_of_the_one_that_the_file_is_for() -> None:
    text = "username,tenant\ndemo,\nother,globex\n"
    assert [row.tenant for row in parse(io.StringIO(text), "acme")] == ["acme", "globex"]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
def test_byte_order_marks_line_ends_and_blank_lines_do_not_matter(end: str, bom: bytes) -> None:
    text = end.join(["", "username,password,tenant", "", "  ", "\t", 'über,"a ""b"", c",', "", "demo,d,x"])
    found = rows(bom + text.encode())
    assert [(row.line, row.username, row.password) for row in found] == [(6, "über", 'a "b", c'), (8, "demo", "d")]
    assert rows(text) == found


def test_a_password_keeps_its_spaces_and_line_breaks() -> None:
    found = rows('username,password\none,"  two\r\nlines "\ntwo, b \n')
    assert [(row.line, row.password) for row in found] == [(2, "  two\r\nlines "), (4, " b ")]


def test_every_bad_line_is_named_with_everything_that_is_wrong_with_it() -> None:
    lines = [
        ",secret-1,,,,,",
        "demo,secret-2,,boss,-1,1.5,",
        "good,secret-3,,,,,",
        f'both,secret-4,,,,,"{HASH}"',
        "neither,,,,,,",
        "good,secret-5,,,,,",
        "short,secret-6",
        "many,secret-7,,,,,,,",
        f"{'n' * 201},secret-8,{'t' * 201},,,,",
        "nul\0,secret\0-9,,,,,",
        " spaced,secret-10,tab\tin,,,,",
        "big,secret-11,,,1000000000000001,1_0,",
        "zero,secret-12,,,٣,+1,",
        ",,,,,,",
        "command:root,secret-13,,,,,",
    ]
    found = problems(HEADER + "\n".join(lines))
    quotes = "; what has a comma in it, as hashes have, must be in quotes"
    number = "must be a whole number from 0 to 10^15, or 'unlimited', or empty to inherit"
    assert found == [
        "line 2: username is missing",
        "line 3: role must be user, admin or operator",
        f"line 3: daily_requests {number}",
        f"line 3: daily_tokens {number}",
        "line 5: both password and password_hash are given; give one",
        "line 6: password is missing, and there is no password_hash",
        "line 7: the username is on line 4 already",
        f"line 8: has 2 cells where the first line names 7 columns{quotes}",
        f"line 9: has 9 cells where the first line names 7 columns{quotes}",
        "line 10: username is longer than 200 characters",
        "line 10: tenant is longer than 200 characters",
        "line 11: username has a control character or one that cannot be seen",
        "line 11: password has a control character",
        "line 12: username begins or ends with a space",
        "line 12: tenant has a control character or one that cannot be seen",
        f"line 13: daily_requests {number}",
        f"line 13: daily_tokens {number}",
        f"line 14: daily_requests {number}",
        f"line 14: daily_tokens {number}",
        "line 15: username is missing",
        "line 15: password is missing, and there is no password_hash",
        "line 16: username begins with 'command:', as the trail names those who run commands",
    ]
    assert "secret" not in "".join(found)


@pytest.mark.parametrize(
    "bad",
    [
        "secret",
        "$2b$12$abcdefghijklmnopqrstuv",
        HASH.replace("argon2id", "argon2i"),
        HASH.replace("v=19", "v=16"),
        HASH.replace("$v=19", ""),
        HASH + "=",
        HASH + "\n$",
    ],
)
def test_a_hash_that_is_not_argon2id_is_refused(bad: str) -> None:
    (found,) = problems(f'username,password_hash\ndemo,"{bad}"\n')
    assert found == ("line 2: password_hash is no argon2id hash such as $argon2id$v=19$m=19456,t=2,p=1$<salt>$<hash>")


@pytest.mark.parametrize("parameters", ["m=1048577,t=2,p=1", "m=19456,t=21,p=1", "m=19456,t=2,p=17"])
def test_a_hash_that_could_take_down_the_machine_is_refused(parameters: str) -> None:
    (found,) = problems(f'username,password_hash\ndemo,"{HASH.replace("m=19456,t=2,p=1", parameters)}"\n')
    assert "too dear" in found


@pytest.mark.parametrize(
    "bad",
    [
        HASH.replace("t=2", "t=0"),
        HASH.replace("m=19456", "m=7"),
        HASH[:-2],
        HASH[:-30],
        HASH[:-1] + "B",
        HASH.replace("c29tZXNhbHRzb21lc2FsdA", "c29t"),
    ],
)
def test_a_hash_that_cannot_be_verified_is_refused(bad: str) -> None:
    (found,) = problems(f'username,password_hash\ndemo,"{bad}"\n')
    assert "impossible" in found or "damaged" in found


def test_the_dearest_hash_that_is_allowed_is_accepted() -> None:
    dear = HASH.replace("m=19456,t=2,p=1", "m=1048576,t=20,p=16")
    assert rows(f'username,password_hash\ndemo,"{dear}"\n')[0].password_hash == dear


def test_bad_utf8_is_named_with_its_line_and_does_not_hide_the_rest() -> None:
    content = b"username,password\nok,a\nf\xfcr,b\ndemo,\nlast,\xe4\n"
    assert problems(content) == [
        "line 3: is not UTF-8 (byte 2 of the line)",
        "line 4: password is missing, and there is no password_hash",
        "line 5: is not UTF-8 (byte 6 of the line)",
    ]


def test_a_file_of_utf16_is_said_to_be_one() -> None:
    assert problems("username,password\n".encode("utf-16")) == ["line 1: the file is UTF-16; save it as UTF-8"]


@pytest.mark.parametrize("filler", [0, 100])
def test_a_quote_that_is_not_closed_does_not_hide_what_follows(filler: int) -> None:
    lines = ["username,password", 'a,"open', "b,", 'c,"x"y', *[f"user{number},p" for number in range(filler)], "d,"]
    found = problems("\n".join(lines))
    assert found[0].startswith("line 2: ")
    assert found[1:] == [
        "line 3: password is missing, and there is no password_hash",
        "line 4: is no well-formed CSV: ',' expected after '\"'",
        f"line {5 + filler}: password is missing, and there is no password_hash",
    ]


def test_the_line_of_a_record_is_its_first() -> None:
    assert problems('username,password,tenant\n"a","x\ny\nz",bad\t\nb,,\n') == [
        "line 2: tenant has a control character or one that cannot be seen",
        "line 5: password is missing, and there is no password_hash",
    ]


def test_an_unknown_column_is_named_and_so_are_the_known_ones() -> None:
    assert problems("username,password,colour\nx,,red\n") == [
        "line 1: unknown column 'colour'; known are "
        "username, password, tenant, role, status, daily_requests, daily_tokens, password_hash",
        "line 2: password is missing, and there is no password_hash",
    ]


@pytest.mark.parametrize("content", ["demo,secret\n", "username;password\ndemo;secret\n"])
def test_without_a_header_nothing_of_the_file_is_repeated(content: str) -> None:
    (found,) = problems(content)
    assert found.startswith("line 1: names no known column")
    assert "secret" not in found


def test_columns_that_are_missing_or_twice_are_named() -> None:
    assert problems("password,tenant,tenant\n") == [
        "line 1: column 'tenant' is there twice",
        "line 1: there is no column 'username'",
    ]


@pytest.mark.parametrize("content", ["", "\n\n", b"", b"\xef\xbb\xbf"])
def test_an_empty_file_is_said_to_be_empty(content: str | bytes) -> None:
    assert problems(content)[0].startswith("line 1: the file is empty; its first line names the columns: username,")


def test_a_file_with_a_header_only_has_no_users() -> None:
    assert rows("username,password\n") == []


def test_a_row_does_not_show_its_secrets() -> None:
    assert "secret" not in repr(rows("username,password\ndemo,secret\n"))


def test_a_hundred_thousand_lines_are_read_in_seconds() -> None:
    line = f'acme,user,100,,"{HASH}"\n'
    content = "username,tenant,role,daily_requests,daily_tokens,password_hash\n" + "".join(
        f"user-{number},{line}" for number in range(100_000)
    )
    began = time.process_time()
    assert len(rows(content.encode())) == 100_000
    assert time.process_time() - began < 10  # 1 s on one core, without coverage


def test_a_hundred_thousand_open_quotes_are_all_reported_in_seconds() -> None:
    content = "username,password\n" + 'demo,"x\n' * 100_001
    began = time.process_time()
    assert len(problems(content)) >= 50_000
    assert time.process_time() - began < 20  # not quadratic
