"""What commands share: the installation that they work on."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

from chatapi.logic import schema
from chatapi.logic.runtime import Runtime
from chatapi.parts import build_runtime
from chatapi.settings import load_settings

P = ParamSpec("P")
R = TypeVar("R")


def with_database(command: Callable[Concatenate[Runtime, P], R]) -> Callable[P, R]:
    """Pass the installation that the settings name as the first argument, whatever its schema; close it afterwards."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        runtime = build_runtime(load_settings())
        try:
            return command(runtime, *args, **kwargs)
        finally:
            runtime.database.close()

    return run


def with_runtime(command: Callable[Concatenate[Runtime, P], R]) -> Callable[P, R]:
    """Pass the installation that the settings name as the first argument, if its schema is as it must be."""

    @wraps(command)
    def run(runtime: Runtime, /, *args: P.args, **kwargs: P.kwargs) -> R:
        schema.require_served(runtime)
        return command(runtime, *args, **kwargs)

    return with_database(run)
