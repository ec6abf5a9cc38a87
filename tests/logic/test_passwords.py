"""Password hashes: what is made, what is verified, and how many at once."""

from __future__ import annotations

import subprocess
import sys
import time

import argon2
import pytest

from chatapi.domain.password_hashes import HashCost, hash_cost, hash_problem
from chatapi.logic import passwords
from chatapi.logic.passwords import COST, Hasher
from tests.support.runtimes import CHEAP


def test_new_hashes_have_owasps_parameters_and_are_what_an_import_accepts() -> None:
    made = Hasher(1).hash("secret")
    assert made.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert hash_problem(made) is None


@pytest.mark.parametrize("password", ["secret", "", "ünïcödé \0 \ud800", "x" * 100_000])
def test_a_password_fits_its_own_hash_only(password: str) -> None:
    hasher = Hasher(1, cost=CHEAP)
    made = hasher.hash(password)
    assert hasher.verify(made, password)
    assert not hasher.verify(made, password + "x")
    assert hasher.hash(password) != made


@pytest.mark.parametrize("damaged", ["", "secret", "$argon2id$v=19$m=16,t=1,p=1$x$y", "$2b$12$abc"])
def test_what_is_no_hash_fits_nothing(damaged: str) -> None:
    assert not Hasher(1, cost=CHEAP).verify(damaged, "secret")


def test_hashes_with_other_parameters_are_verified() -> None:
    other = argon2.PasswordHasher(time_cost=2, memory_cost=64, parallelism=4).hash("secret")
    assert Hasher(1, cost=CHEAP).verify(other, "secret")


def test_only_a_hash_weaker_than_those_made_today_is_weak() -> None:
    hasher = Hasher(1)
    salt_and_tag = "$c29tZXNhbHRzb21lc2FsdA$" + "A" * 43
    weak = {
        parameters: hasher.is_weak(f"$argon2id$v=19${parameters}{salt_and_tag}")
        for parameters in (
            "m=19456,t=2,p=1",
            "m=65536,t=3,p=4",
            "m=47104,t=1,p=1",
            "m=19456,t=1,p=1",
            "m=12288,t=9,p=1",
        )
    }
    assert weak == {
        "m=19456,t=2,p=1": False,
        "m=65536,t=3,p=4": False,
        "m=47104,t=1,p=1": False,
        "m=19456,t=1,p=1": True,
        "m=12288,t=9,p=1": True,
    }


def test_a_refusal_is_the_same_real_work_whatever_hash_the_user_has_or_whether_there_is_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    work: list[HashCost] = []

    def count(hasher: argon2.PasswordHasher, password_hash: str, password: str) -> bool:
        work.append(cost_of(password_hash))
        return really(hasher, password_hash, password)

    really = passwords._verify
    monkeypatch.setattr(passwords, "_verify", count)
    hasher = Hasher(1, cost=HashCost(64, 2, 1))
    kinds = {HashCost(64, 2, 1), HashCost(256, 3, 4), HashCost(16, 1, 1)}
    hasher.decoys.refresh(lambda: kinds)
    own = [Hasher(1, cost=cost).hash("secret") for cost in kinds]
    for password_hash in (*own, "damaged", "$argon2id$v=19$m=99999999,t=99,p=1$x$y", None):
        work.clear()
        assert password_hash is None or not hasher.verify(password_hash, "wrong")
        hasher.refuse(password_hash, "wrong")
        assert len(work) == 3
        assert set(work) == kinds


def cost_of(password_hash: str) -> HashCost:
    cost = hash_cost(password_hash)
    assert cost is not None
    return cost


def test_many_jobs_keep_their_order_and_say_how_far_they_are() -> None:
    seen: list[int] = []
    hasher = Hasher(1, cost=CHEAP)
    passwords = [f"secret {number}" for number in range(50)]
    hashes = hasher.many(passwords, hasher.hash, seen.append)
    assert all(hasher.verify(made, password) for made, password in zip(hashes, passwords, strict=True))
    assert seen == list(range(1, 51))


def test_an_import_that_is_interrupted_stops_soon() -> None:
    def interrupt(done: int) -> None:
        raise KeyboardInterrupt

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        Hasher(1, cost=CHEAP).many(range(1000), lambda _: time.sleep(0.05), interrupt)
    assert time.monotonic() - began < 5


def test_the_cost_of_a_hash_is_read_from_it() -> None:
    assert hash_cost(Hasher(1).hash("x")) == COST
    assert hash_cost("x") is None


UNDER_GEVENT = """
from gevent import monkey; monkey.patch_all()
import time, gevent
from chatapi.logic import passwords
from chatapi.logic.passwords import Hasher
hasher, gaps, last = Hasher(1), [], time.perf_counter()
def tick():
    global last
    while True:
        gevent.sleep(0.001)
        now = time.perf_counter(); gaps.append(now - last); last = now
def login():
    with hasher.turns.turn("", ""):
        hasher.verify(hasher.hash("x"), "x")
ticker = gevent.spawn(tick)
gevent.joinall([gevent.spawn(login) for _ in range(10)], raise_error=True)
hasher.many(range(3), lambda _: hasher.hash("x"), lambda _: None)
print(len(gaps))
"""


def test_under_gevent_other_greenlets_run_while_passwords_are_hashed() -> None:
    ran = subprocess.run([sys.executable, "-c", UNDER_GEVENT], capture_output=True, text=True, check=True, timeout=60)
    assert int(ran.stdout) > 50  # on the hub there would be at most one tick for each of the 23 hashes
