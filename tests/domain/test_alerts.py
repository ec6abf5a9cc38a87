"""Which shares of a limit are told, when once more, and how long is waited between tries."""

from __future__ import annotations

import base64
import hashlib
import hmac
from datetime import UTC, datetime, timedelta

import pytest

from chatapi.domain.alerts import MOST_TOLD, Watched, check_shares, is_news, pause_s, reached
from chatapi.domain.limits import Metric, Scope
from chatapi.domain.webhook_signatures import Secrets, new_secret, signed_headers
from chatapi.domain.windows import Window

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


def watched(value: int, used: int) -> Watched:
    return Watched(Scope.USER, "u", Metric.TOKENS, Window.DAY, "2026-11-21", "", value, used)


@pytest.mark.parametrize(
    ("value", "used", "shares"),
    [(10, 7, []), (10, 8, [80]), (10, 10, [80, 100]), (10, 12, [80, 100]), (3, 2, []), (3, 3, [80, 100]), (0, 0, [])],
)
def test_a_share_is_reached_when_so_much_is_used_rounded_up(value: int, used: int, shares: list[int]) -> None:
    assert [each.share for each in reached(watched(value, used), (80, 100))] == shares


def test_a_share_is_told_once_and_again_only_above_all_that_had_been_used() -> None:
    (occasion,) = reached(watched(100, 85), (80,))
    assert is_news(occasion, {}) == 0
    assert is_news(occasion, {0: 85}) is None
    (raised_a_little,) = reached(watched(105, 90), (80,))
    assert is_news(raised_a_little, {0: 85}) is None
    (raised,) = reached(watched(200, 160), (80,))
    assert is_news(raised, {0: 85}) == 1
    assert is_news(raised, {0: 85, 1: 160}) is None
    (lowered,) = reached(watched(50, 160), (80,))
    assert is_news(lowered, {0: 85, 1: 160}) is None
    assert is_news(raised, dict.fromkeys(range(MOST_TOLD), 1)) is None


def test_occasions_differ_by_all_but_the_limits_value() -> None:
    (first,), (second,) = (reached(watched(value, 100), (80,)) for value in (100, 90))
    assert first.key == second.key == first.key_of(0) != first.key_of(1)
    (other,) = reached(watched(100, 100)._replace(model="#1"), (80,))
    assert other.key != first.key


@pytest.mark.parametrize("shares", [[], [0], [101], list(range(1, 12))], ids=str)
def test_what_are_no_shares_is_refused(shares: list[int]) -> None:
    with pytest.raises(ValueError, match="percentages"):
        check_shares(shares)


def test_pauses_double_from_the_first_to_an_hour() -> None:
    middle = [round(pause_s(tries, 10, 0.5)) for tries in range(1, 12)]
    assert middle == [10, 20, 40, 80, 160, 320, 640, 1280, 2560, 3600, 3600]
    assert [pause_s(1, 10, chance) for chance in (0.0, 1.0)] == pytest.approx([8, 12])
    assert pause_s(10_000, 10, 1.0) == 3600


def test_signatures_are_those_of_standard_webhooks() -> None:
    """By the specification's own words: HMAC-SHA256 of id.timestamp.body with the secret's bytes, in base64."""
    secret = new_secret()
    headers = signed_headers("msg_1", 1674087231, b'{"a":1}', [secret])
    key = base64.b64decode(secret.removeprefix("whsec_"))
    assert len(key) == 32
    expected = base64.b64encode(hmac.digest(key, b'msg_1.1674087231.{"a":1}', hashlib.sha256)).decode()
    assert headers == {
        "webhook-id": "msg_1",
        "webhook-timestamp": "1674087231",
        "webhook-signature": f"v1,{expected}",
    }


def test_a_rotated_secret_signs_for_a_day_beside_the_new_one() -> None:
    first = Secrets(new_secret())
    assert first.current not in repr(first.rotated(NOW))
    second = Secrets.load(first.rotated(NOW).dump())
    assert second.at(NOW + timedelta(hours=23)) == [second.current, first.current]
    assert second.at(NOW + timedelta(hours=24)) == [second.current]
    assert len(signed_headers("1", 1, b"", second.at(NOW))["webhook-signature"].split()) == 2
