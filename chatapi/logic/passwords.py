"""Password hashes: argon2id, never on gevent's hub, never more at once than the machine is meant to bear.

Parameters: OWASP's Password Storage Cheat Sheet, argon2id with 19 MiB, two passes, one lane.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import partial
from typing import TypeVar

import argon2
from argon2.exceptions import VerificationError, VerifyMismatchError

from chatapi.domain.password_hashes import HashCost, hash_cost, hash_problem, random_hash
from chatapi.errors import Overloaded
from chatapi.logic.decoys import Decoys
from chatapi.logic.login_turns import RETRY_AFTER_S, LoginTurns
from chatapi.logic.verified import VerifiedPasswords

T = TypeVar("T")
J = TypeVar("J")

COST = HashCost(memory_kib=19456, passes=2, lanes=1)
MOST_WAITING = 200  # half a minute's work of a slow core: who comes later is told to come again


class Hasher:
    """Hashes and verifies passwords for one process.

    `hash`, `verify` and `refuse` compute at once in the calling thread's stead; logins take their turn first, so that
    of all that come together only `at_once` are being computed, and what was `verified` a moment ago needs none.

    Args:
        at_once: logins that may be computed at the same time.
        cost: parameters of new hashes; tests take cheap ones.
        most_waiting: logins that may wait for their turn.
    """

    def __init__(self, at_once: int, *, cost: HashCost = COST, most_waiting: int = MOST_WAITING) -> None:
        self._argon2 = _argon2(cost)
        self._cost = cost
        self.turns = LoginTurns(at_once, at_once + most_waiting)
        self.verified = VerifiedPasswords()
        self.decoys = Decoys(cost)

    def hash(self, password: str) -> str:
        """A new hash of the password, in the PHC string format."""
        return _off_the_hub(lambda: self._argon2.hash(_encoded(password)))

    def nobodys(self) -> str:
        """A new hash that no password has, and that costs as much to verify as one that `hash` makes."""
        return random_hash(self._cost)

    def verify(self, password_hash: str, password: str) -> bool:
        """Whether the password is the one that was hashed.

        Raises:
            Overloaded: there is no memory for it now.
        """
        cost = _served_cost(password_hash)
        if cost is None:  # nobody's, like one that could take down the machine
            return False
        self.decoys.meet(cost)
        return _off_the_hub(lambda: _verify(self._argon2, password_hash, password))

    def refuse(self, password_hash: str | None, password: str) -> None:
        """Do the work that is left for a refused login to cost what every refused login does.

        Args:
            password_hash: that was verified already; None for a user that does not exist.

        Raises:
            Overloaded: there is no memory for it now.
        """
        done = _served_cost(password_hash) if password_hash else None
        for decoy in self.decoys.hashes(but=done):
            _off_the_hub(partial(_verify, self._argon2, decoy, password))

    def is_weak(self, password_hash: str) -> bool:
        """Whether the hash is weaker than those made today, so that a login should replace it."""
        cost = hash_cost(password_hash)
        return cost is None or cost.is_weaker_than(self._cost)

    def many(self, jobs: Sequence[J], do: Callable[[J], T], progress: Callable[[int], None]) -> list[T]:
        """Do jobs that hash on all cores, for an import. Returns the results in the order of the jobs.

        Args:
            progress: called with the number of jobs that are done, in the calling thread.
        """
        if _gevent_patched():  # threads would be greenlets then, and each job leaves the hub by itself
            results = []
            for job in jobs:
                results.append(do(job))
                progress(len(results))
            return results
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            futures = [pool.submit(do, job) for job in jobs]
            try:
                for done, _ in enumerate(as_completed(futures), 1):
                    progress(done)
            except BaseException:
                pool.shutdown(cancel_futures=True)  # interrupted: what has not begun need not be done
                raise
            return [future.result() for future in futures]


def _argon2(cost: HashCost) -> argon2.PasswordHasher:
    return argon2.PasswordHasher(time_cost=cost.passes, memory_cost=cost.memory_kib, parallelism=cost.lanes)


def _served_cost(password_hash: str) -> HashCost | None:
    """What it costs to verify this hash; None when it is not verified at all."""
    return None if hash_problem(password_hash) else hash_cost(password_hash)


def _verify(hasher: argon2.PasswordHasher, password_hash: str, password: str) -> bool:
    try:
        return hasher.verify(password_hash, _encoded(password))
    except VerifyMismatchError:
        return False
    except VerificationError as error:
        raise Overloaded(
            "There is no memory for a login now. Please try again.", retry_after_s=RETRY_AFTER_S
        ) from error


def _encoded(password: str) -> bytes:
    return password.encode("utf-8", "surrogatepass")


def _gevent_patched() -> bool:
    monkey = sys.modules.get("gevent.monkey")  # what was never imported has patched nothing
    return monkey is not None and bool(monkey.is_module_patched("threading"))


def _off_the_hub(compute: Callable[[], T]) -> T:
    """Compute in a native thread while other greenlets run; without gevent, right here (argon2 lets go of the GIL)."""
    if not _gevent_patched():
        return compute()
    import gevent

    result: T = gevent.get_hub().threadpool.apply(compute)
    return result
