"""With this folder on PYTHONPATH a Python process lives SHIFT_S seconds ahead of its machine, or behind it."""

from __future__ import annotations

import datetime
import os
import time
from datetime import datetime as _datetime

SHIFT_S = float(os.environ["SHIFT_S"])
_time = time.time


class _Kind(type):
    """Datetimes that the interpreter itself has made are datetimes too."""

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, _datetime)


class ShiftedDatetime(_datetime, metaclass=_Kind):
    """A datetime whose idea of now is shifted."""

    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> ShiftedDatetime:
        """Now, shifted."""
        return cls.fromtimestamp(time.time(), tz)

    @classmethod
    def utcnow(cls) -> ShiftedDatetime:
        """Now in UTC, shifted and naive."""
        return cls.fromtimestamp(time.time(), datetime.UTC).replace(tzinfo=None)


def _shifted_time() -> float:
    return _time() + SHIFT_S


time.time = _shifted_time
datetime.datetime = ShiftedDatetime  # type: ignore[misc]
