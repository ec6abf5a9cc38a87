"""Turns of logins: how many at once, in which order, and that nobody can take all the room."""

from __future__ import annotations

import threading
from contextlib import ExitStack

import pytest

from chatapi.errors import Overloaded
from chatapi.logic.login_turns import LoginTurns
from tests.support.runtimes import at_once


class Line:
    """Logins that wait while one has the only turn, which `go()` ends; each leaves its name when its turn comes."""

    def __init__(self, places: int) -> None:
        self.turns = LoginTurns(1, places)
        self.came: list[str] = []
        self._threads: list[threading.Thread] = []
        self._first = ExitStack()
        self._first.enter_context(self.turns.turn("the first", ""))

    def queue(self, address: str, name: str) -> bool:
        """Let one more wait; whether there was a place for it."""
        entered, refused = self._waiting(), threading.Event()

        def wait() -> None:
            try:
                with self.turns.turn(address, name):
                    self.came.append(address)
            except Overloaded as error:
                assert error.retry_after_s > 0
                refused.set()

        thread = threading.Thread(target=wait)
        thread.start()
        self._threads.append(thread)
        while self._waiting() == entered and not refused.wait(0.001):
            pass
        return not refused.is_set()

    def go(self) -> list[str]:
        self._first.close()
        for thread in self._threads:
            thread.join(10)
        return self.came

    def _waiting(self) -> int:
        return sum(map(len, self.turns._lines.values()))


def test_turns_are_no_more_than_allowed() -> None:
    turns, inside, most, count = LoginTurns(2, 100), 0, 0, threading.Lock()
    both, overlap = threading.Barrier(2), threading.Event()

    def take(number: int) -> None:
        nonlocal inside, most
        with turns.turn(f"address {number}", ""):
            with count:
                inside += 1
                most = max(most, inside)
            if not overlap.is_set():
                both.wait(5)
                overlap.set()
            with count:
                inside -= 1

    assert at_once(10, take) == [None] * 10
    assert most == 2


def test_a_greedy_address_leaves_room_and_delays_others_by_one_login() -> None:
    line = Line(places=41)
    greedy = [line.queue("greedy", f"user {number}") for number in range(40)]
    assert greedy.count(True) == 20
    assert line.queue("elsewhere", "somebody")
    assert line.queue("elsewhere", "somebody else")
    assert line.queue("a third", "somebody")
    came = line.go()
    assert came[:6] == ["greedy", "elsewhere", "a third", "greedy", "elsewhere", "greedy"]
    assert len(came) == 23


def test_a_greedy_user_leaves_room_for_others_at_its_address() -> None:
    line = Line(places=201)
    greedy = [line.queue("school", "greedy") for _ in range(100)]
    assert greedy.count(True) == 67
    assert all(line.queue("school", f"pupil {number}") for number in range(30))
    assert len(line.go()) == 97


def test_many_greedy_addresses_do_not_fill_the_room() -> None:
    line = Line(places=60)
    for address in range(6):
        while line.queue(f"greedy {address}", "one") or line.queue(f"greedy {address}", "another"):
            pass
    assert line.queue("elsewhere", "somebody")
    assert line.go().index("elsewhere") <= 6


def test_everything_is_given_back_when_all_have_gone_and_when_one_is_interrupted() -> None:
    turns = LoginTurns(1, 3)

    class Interrupted(BaseException):
        pass

    with turns.turn("a", "b"), pytest.raises(Interrupted):
        login = turns._enter("c", "d")
        try:
            raise Interrupted
        finally:
            turns._leave(login)
    for _ in range(5):
        with turns.turn("a", "b"):
            pass
    assert (turns._free_turns, turns._free_places, turns._places, turns._lines) == (1, 3, {}, {})
