"""Read by schemathesis: most good idempotency keys become new ones, and ids those that are there.

Else nearly all answers were 422 and 404.
"""

from __future__ import annotations

import itertools
import json
import os
import re
from collections.abc import MutableMapping
from typing import Any

import schemathesis
from schemathesis import Case, HookContext

HEADER = "Idempotency-Key"
SAME = 8  # one of so many keys and ids stays as it is
IDS: dict[str, str] = json.loads(os.environ.get("FUZZ_IDS", "{}"))

_numbers = itertools.count()


@schemathesis.hook
def before_call(context: HookContext, case: Case[Any], kwargs: dict[str, object]) -> None:
    """Make a key unlike all others, and an id one that is there; what is refused for its shape stays."""
    headers: MutableMapping[str, object] = case.headers
    key, number = headers.get(HEADER), next(_numbers)
    if isinstance(key, str) and re.fullmatch(r"[ -~]{1,200}", key) and number % SAME:
        headers[HEADER] = f"{key}{number}"
    for name, there in IDS.items():
        given = case.path_parameters.get(name) if case.path_parameters else None
        if isinstance(given, str) and re.fullmatch(r"[0-9a-f-]{36}", given) and number % SAME:
            case.path_parameters[name] = there
