"""When a tenant's new time zone begins."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatapi.domain.windows import Window, Zone, local_day, window_key
from chatapi.domain.zones import changed_zone, zone_problem

NAMES = ["UTC", "Asia/Tokyo", "America/New_York", "Europe/Berlin", "Pacific/Kiritimati", "Pacific/Honolulu"]
INSTANTS = st.datetimes(datetime(2025, 1, 1), datetime(2028, 12, 31), timezones=st.just(UTC))


@given(st.sampled_from(NAMES), st.sampled_from(NAMES), INSTANTS)
def test_no_window_that_is_over_is_opened_again(old: str, new: str, now: datetime) -> None:
    zone = changed_zone(Zone(old), new, now, is_counted=True)
    if old == new:
        assert zone == Zone(new)
        return
    assert zone.next_from is not None
    assert zone.next_from > now
    last = local_day(zone.next_from - timedelta(microseconds=1), Zone(old).at(now))
    first = local_day(zone.next_from, zone.at(zone.next_from))
    assert first >= last
    assert window_key(Window.MONTH, first) > window_key(Window.MONTH, local_day(now, zone.at(now)))


def test_without_counters_there_is_nothing_to_wait_for() -> None:
    assert changed_zone(Zone("UTC"), "Asia/Tokyo", datetime(2026, 1, 1, tzinfo=UTC), is_counted=False) == Zone(
        "Asia/Tokyo"
    )


@pytest.mark.parametrize("name", ["", "Mars/Olympus", "../etc/passwd", "/UTC", "\0"])
def test_a_name_that_is_no_time_zone_is_refused(name: str) -> None:
    assert zone_problem(name) is not None
    assert zone_problem("Europe/Berlin") is None
