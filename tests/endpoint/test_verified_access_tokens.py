"""The memory of verified access tokens: bounded, exact, and never longer than a token is valid."""

from __future__ import annotations

import threading
import time

from chatapi.domain.principals import Claims
from chatapi.endpoint.verified_access_tokens import VerifiedAccessTokens, digest_of

AHEAD = int(time.time()) + 3600


def claims(number: int) -> Claims:
    return Claims("tenant", "user", str(number))


def test_what_was_never_remembered_is_not_known() -> None:
    known = VerifiedAccessTokens()
    known.remember(digest_of("a.b.c"), claims(1), AHEAD)
    assert known.find(digest_of("a.b.c")) == claims(1)
    assert known.find(digest_of("a.b.d")) is None
    assert known.find(digest_of("")) is None


def test_it_is_forgotten_in_the_second_in_which_it_expires() -> None:
    known = VerifiedAccessTokens()
    known.remember(digest_of("x"), claims(1), int(time.time()))
    known.remember(digest_of("y"), claims(2), int(time.time()) + 2)
    assert known.find(digest_of("x")) is None
    assert known.find(digest_of("y")) == claims(2)


def test_the_oldest_goes_when_it_is_full() -> None:
    known = VerifiedAccessTokens(most=3)
    for number in (1, 2, 3, 1, 4):
        known.remember(digest_of(str(number)), claims(number), AHEAD)
    assert len(known) == 3
    assert [known.find(digest_of(str(number))) for number in (1, 2, 3, 4)] == [claims(1), None, claims(3), claims(4)]


def test_threads_that_remember_at_once_keep_it_bounded() -> None:
    known = VerifiedAccessTokens(most=50)

    def enter(first: int) -> None:
        for number in range(first, first + 2000):
            known.remember(digest_of(str(number)), claims(number), AHEAD)
            assert known.find(digest_of(str(number))) in (claims(number), None)

    threads = [threading.Thread(target=enter, args=(first * 2000,)) for first in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(known) == 50


def test_credentials_that_are_no_text_have_a_digest_too() -> None:
    assert digest_of("\u00e9\udc80") != digest_of("\u00e9\udc81")
