"""Passwords: the same rules for a file of users and for one user."""

from __future__ import annotations

import io

import pytest

from chatapi.domain.passwords import password_problem
from chatapi.domain.user_csv import InvalidUserFile, parse
from chatapi.errors import InvalidInput
from tests.support import administration
from tests.support.runtimes import make_runtime

BAD = {
    "": "is missing",
    "nul \0 in it": "has a control character",
    "an escape \x1b": "has a control character",
    "x" * 4097: "is longer than 4096 characters",
    "half a pair \ud800": "has a character that is not Unicode text",
}


@pytest.mark.parametrize("password", ["x", " a b ", "two\nlines\tand a tab", "x" * 4096, "ünïcödé 🙂"])
def test_almost_anything_may_be_a_password(password: str) -> None:
    assert password_problem(password) is None


@pytest.mark.parametrize(("password", "problem"), BAD.items())
def test_what_cannot_be_a_password_is_said_without_repeating_it(password: str, problem: str) -> None:
    assert password_problem(password) == problem


def test_one_user_is_refused_what_a_file_is_refused(sqlite_url: str) -> None:
    runtime = make_runtime(sqlite_url)
    administration.add_user(runtime, "demo", "secret")
    for password, problem in BAD.items():
        for give in (administration.add_user, administration.set_password):
            with pytest.raises(InvalidInput, match=rf"^The password {problem}\.$"):
                give(runtime, "demo", password)
        with pytest.raises(InvalidUserFile, match=rf"^line 2: password {problem}"):
            parse(io.StringIO(f'username,password\ndemo,"{password}"\n'))
    runtime.database.close()
