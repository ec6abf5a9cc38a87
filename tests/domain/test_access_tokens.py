"""How long a named access token lives."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from chatapi.domain.access_tokens import NewAccessToken
from chatapi.errors import InvalidInput

NOW = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)
USUAL, MOST = 30, 365


def days(new: NewAccessToken, usual: int = USUAL, most: int = MOST) -> float:
    return (new.expiry(NOW, usual, most) - NOW) / timedelta(days=1)


def test_it_lives_as_long_as_usual_unless_said_and_never_longer_than_is_allowed() -> None:
    assert days(NewAccessToken("a")) == USUAL
    assert days(NewAccessToken("a"), usual=30, most=7) == 7
    assert days(NewAccessToken("a", days=MOST)) == MOST
    assert days(NewAccessToken("a", until=NOW + timedelta(days=MOST))) == MOST


def test_its_end_is_in_whole_seconds_as_claims_are() -> None:
    assert NewAccessToken("a", until=NOW + timedelta(seconds=5.9)).expiry(NOW, USUAL, MOST) == NOW + timedelta(
        seconds=5
    )


@pytest.mark.parametrize(
    "new",
    [
        NewAccessToken("a", days=0),
        NewAccessToken("a", days=MOST + 1),
        NewAccessToken("a", until=NOW),
        NewAccessToken("a", until=NOW + timedelta(seconds=0.9)),
        NewAccessToken("a", until=NOW + timedelta(days=MOST, seconds=1)),
        NewAccessToken("a", days=1, until=NOW + timedelta(days=1)),
    ],
)
def test_an_end_that_is_over_or_too_far_away_is_refused(new: NewAccessToken) -> None:
    with pytest.raises(InvalidInput):
        new.expiry(NOW, USUAL, MOST)
