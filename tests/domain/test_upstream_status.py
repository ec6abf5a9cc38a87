"""How upstreams are, as workers write it down and as all of it stands together."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from chatapi.domain.routing import Breaker, Breakers
from chatapi.domain.upstream_status import ModelStatus, merged, read, written
from chatapi.errors import UpstreamFailed, UpstreamRateLimited
from chatapi.upstream.health import MOST_MODELS, Health


def test_what_a_worker_writes_is_read_back_and_what_nobody_can_read_says_nothing() -> None:
    status = ModelStatus("main", "m", "open", 9.5, 2, 3, 1, "failed 503", 1_700_000_000.5)
    assert read(written([status])) == [status]
    assert status.failed_at == datetime.fromtimestamp(1_700_000_000.5, UTC)
    for text in (None, "[]", "no JSON", '[{"upstream": "main", "a_field_of_tomorrow": 1}]', "[1]"):
        assert read(text) == []


def test_together_they_are_the_worst_of_it_and_sums() -> None:
    one = ModelStatus("main", "m", "trying", 0.0, 2, 5, 1, "timeout", 100.0)
    two = ModelStatus("main", "m", "open", 8.0, 3, 4, 2, "failed 500", 50.0)
    three = ModelStatus("main", "m", "open", 9.0, 2, 0, 0)
    assert merged([one, two, three]) == ModelStatus("main", "m", "open", 9.0, 3, 9, 3, "timeout", 100.0)


def test_a_breaker_says_what_it_is_at() -> None:
    seconds = [0.0]
    breaker = Breaker(2, 10, clock=lambda: seconds[0])
    states = [breaker.state]
    breaker.failed()
    breaker.rest(5)
    states.append(breaker.state)
    breaker.failed()
    states.append(breaker.state)
    seconds[0] = 10.0
    states.append(breaker.state)
    breaker.succeeded()
    states.append(breaker.state)
    assert states == ["closed", "resting", "open", "trying", "closed"]


def test_own_keys_have_breakers_of_their_own() -> None:
    breakers = Breakers(lambda: Breaker(1, 60))
    breakers.of("m", "a tenant's").failed()
    assert breakers.of("m", "a tenant's").opens_after_s
    assert not breakers.of("m", "another's").opens_after_s
    assert not breakers.of("m").opens_after_s


def test_names_that_clients_make_up_are_forgotten_the_oldest_first() -> None:
    health = Health()
    for number in range(3 * MOST_MODELS):
        health.of(f"m{number}").fail(UpstreamFailed("no", status=503))
        health.of("asked for all the time").fail(UpstreamFailed("no", status=503))
    found = {status.model: status for status in health.statuses("main", {"under way": 1}, None)}
    newest = {f"m{number}" for number in range(2 * MOST_MODELS + 2, 3 * MOST_MODELS)}
    assert found.keys() == newest | {"asked for all the time", "under way"}
    assert found["asked for all the time"].recent_failures == 3 * MOST_MODELS


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (UpstreamFailed("no", status=503), "failed 503"),
        (UpstreamRateLimited("sk-secret", status=429), "rate_limited 429"),
    ],
)
def test_an_error_is_told_by_its_kind_alone(error: UpstreamFailed, kind: str) -> None:
    health = Health()
    health.of("m").fail(error)
    (status,) = health.statuses("main", {}, None)
    assert (status.last_error, status.recent_failures) == (kind, 1)
