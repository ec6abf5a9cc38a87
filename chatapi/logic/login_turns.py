"""Turns of logins: few at once, the addresses in rotation, and room for everybody whatever one address does."""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from chatapi.errors import Overloaded

RETRY_AFTER_S = 5


@dataclass(eq=False, slots=True)
class _Login:
    """One login that has a place: from where, of whom, and whether its turn has come."""

    address: str
    name: str
    called: threading.Event = field(default_factory=threading.Event)


class LoginTurns:
    """Of the logins that have a place, `at_once` have a turn and the others wait in line, one line an address.

    An address may have as many places as are left free, and a name from an address as many as its address may still
    add. So one address alone takes at most half of the places and one name of it a third; however many are greedy, some
    places stay free, and who comes from elsewhere finds one, and has its turn after one login of each address.

    Args:
        at_once: turns that may be taken at the same time.
        places: logins that have a turn or wait for one.
    """

    def __init__(self, at_once: int, places: int) -> None:
        self._lock = threading.Lock()
        self._free_turns = at_once
        self._free_places = places
        self._places: Counter[tuple[str, str | None]] = Counter()  # of (address, name), and of (address, None) for all
        self._lines: OrderedDict[str, deque[_Login]] = OrderedDict()  # the address whose turn is next comes first

    @contextmanager
    def turn(self, address: str, name: str) -> Iterator[None]:
        """Wait for a turn, and keep it for the block.

        Raises:
            Overloaded: too many are waiting already, of this name, from this address, or at all.
        """
        login = self._enter(address, name)
        try:
            login.called.wait()
            yield
        finally:
            self._leave(login)

    def _enter(self, address: str, name: str) -> _Login:
        login = _Login(address, name)
        with self._lock:
            left_to_address = self._free_places - self._places[address, None]
            if self._places[address, name] >= left_to_address:
                raise Overloaded("Too many logins at once. Please try again.", retry_after_s=RETRY_AFTER_S)
            self._count(login, 1)
            if self._free_turns:
                self._free_turns -= 1
                login.called.set()
            else:
                self._lines.setdefault(address, deque()).append(login)
        return login

    def _leave(self, login: _Login) -> None:
        with self._lock:
            self._count(login, -1)
            if not login.called.is_set():  # it was interrupted in its line
                line = self._lines[login.address]
                line.remove(login)
                if not line:
                    del self._lines[login.address]
            elif self._lines:
                address, line = self._lines.popitem(last=False)
                line.popleft().called.set()
                if line:
                    self._lines[address] = line
            else:
                self._free_turns += 1

    def _count(self, login: _Login, change: int) -> None:
        self._free_places -= change
        for key in ((login.address, None), (login.address, login.name)):
            self._places[key] += change
            if not self._places[key]:
                del self._places[key]
