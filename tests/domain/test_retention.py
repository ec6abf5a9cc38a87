"""How long is to be kept, and which day follows from it."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatapi.domain.retention import Keep, Month, beyond_ids, first_id, months_from
from tests.concurrency.model import utc


@pytest.mark.parametrize(
    ("keep", "now", "first_day"),
    [
        ("13months", "2026-11-21T12:00:00", "2025-10-21"),
        ("1month", "2026-03-31T12:00:00", "2026-02-28"),
        ("1 month", "2026-03-01T11:00:00", "2026-02-01"),  # it is still February somewhere
        ("2years", "2028-02-29T00:00:00", "2026-02-28"),
        ("400days", "2026-11-21T12:00:00", "2025-10-17"),
        ("60weeks", "2026-11-21T12:00:00", "2025-09-27"),
        ("31days", "2026-12-31T23:59:59", "2026-11-30"),
    ],
)
def test_what_is_kept_begins_with_a_day(keep: str, now: str, first_day: str) -> None:
    assert Keep.parse(keep).first_day(utc(now)) == first_day


@pytest.mark.parametrize("keep", ["30days", "4weeks", "0months", "0years", "1day"])
def test_the_current_month_is_always_kept(keep: str) -> None:
    with pytest.raises(ValueError, match="at least 31days or 1month"):
        Keep.parse(keep)


@pytest.mark.parametrize("keep", ["", "13", "months", "-2months", "1.5years", "13 moons", "13months 2days", "5hours"])
def test_what_is_no_time_is_refused(keep: str) -> None:
    with pytest.raises(ValueError, match="say 13months"):
        Keep.parse(keep)


@pytest.mark.parametrize("keep", ["101years", "1201months", "36526days", "5300weeks"])
def test_a_hundred_years_are_enough(keep: str) -> None:
    with pytest.raises(ValueError, match="more than a hundred years"):
        Keep.parse(keep)


@given(
    now=st.datetimes(datetime(2001, 1, 1), datetime(2099, 12, 31), timezones=st.just(UTC)),
    keep=st.sampled_from(["1month", "31days", "5weeks", "1year"]),
    offset_h=st.integers(-12, 14),
)
def test_no_open_month_is_cut_in_any_time_zone(now: datetime, keep: str, offset_h: int) -> None:
    local = now.astimezone(timezone(timedelta(hours=offset_h))).date()
    assert Keep.parse(keep).first_day(now) <= local.replace(day=1).isoformat()


@given(
    day=st.dates(date(2001, 1, 2), date(2099, 12, 31)),
    offset_h=st.integers(-12, 14),
    before_s=st.integers(1, 86400 * 40),
)
def test_the_ids_of_older_days_are_below_the_bound(day: date, offset_h: int, before_s: int) -> None:
    midnight = datetime(day.year, day.month, day.day, tzinfo=timezone(timedelta(hours=offset_h)))
    assert first_id(midnight - timedelta(seconds=before_s)) < beyond_ids(day.isoformat())


def test_months_follow_each_other_over_the_end_of_a_year() -> None:
    assert [str(month) for month in months_from(utc("2026-11-30T23:59:59"), 2)] == ["2026_11", "2026_12", "2027_01"]
    assert Month.parse("2026_12") == Month(2026, 12)
    assert Month(2026, 12).following.first_day == "2027-01-01"
    assert Month(2026, 12).ended_long_before("2027-01-05")
    assert not Month(2026, 12).ended_long_before("2027-01-02")
