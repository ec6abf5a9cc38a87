"""How the audit asks: each of its statements is put together once, as that takes longer than most of them run."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from sqlalchemy import Select, func, select

from chatapi.storage.columns import Row

MOST_ROWS = 20


@lru_cache(maxsize=256)
def first_of(broken: Callable[..., Select[Row]], *arguments: object) -> Select[Row]:
    """The statement that gives the first of the rows, each with the number of them all."""
    found = broken(*arguments).subquery()
    return select(found, func.count().over().label("breaking")).limit(MOST_ROWS)
