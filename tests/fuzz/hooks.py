"""Read by schemathesis: most good idempotency keys become new ones, else nearly all answers were 422."""

from __future__ import annotations

import itertools
import re
from collections.abc import MutableMapping
from typing import Any

import schemathesis
from schemathesis import Case, HookContext

HEADER = "Idempotency-Key"
SAME = 8  # one of so many keys stays as it is

_numbers = itertools.count()


@schemathesis.hook
def before_call(context: HookContext, case: Case[Any], kwargs: dict[str, object]) -> None:
    """Make a key unlike all others; one that is refused for its shape stays."""
    headers: MutableMapping[str, object] = case.headers
    key, number = headers.get(HEADER), next(_numbers)
    if isinstance(key, str) and re.fullmatch(r"[ -~]{1,200}", key) and number % SAME:
        headers[HEADER] = f"{key}{number}"
