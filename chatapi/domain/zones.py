"""A tenant's change of its time zone."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from chatapi.domain.windows import Window, Zone, local_day, local_end


def zone_problem(name: str) -> str | None:
    """What is wrong with a time zone's name, as a sentence; None when nothing is."""
    try:
        ZoneInfo(name)
    except (ValueError, OSError, KeyError):
        return f"{name!r} is no IANA time zone, such as Europe/Berlin."
    return None


def changed_zone(zone: Zone, name: str, now: datetime, *, is_counted: bool) -> Zone:
    """The zone of a tenant that shall have the time zone `name`.

    The change waits until the current month, the longest open window, has ended in both time zones: otherwise a window
    that is over in the old one would be opened a second time by the new one, with what was used in it.
    (Between zones that are more than a day apart one day is: then its users have less, and never more.)

    Args:
        is_counted: whether the tenant has counters; without any there is nothing to wait for.
    """
    current = zone.at(now)
    if name == current.key or not is_counted:
        return Zone(name)
    day = local_day(now, current)
    ends = [local_end(Window.MONTH, day, each) for each in (current, ZoneInfo(name))]
    return Zone(current.key, name, max(ends))
