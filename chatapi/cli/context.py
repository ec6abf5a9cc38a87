"""What commands share: the installation that they work on, and how errors are said."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

import click

from chatapi.app import build_runtime
from chatapi.domain.names import can_be_kept
from chatapi.errors import ChatAPIError
from chatapi.logic import schema
from chatapi.logic.runtime import Runtime
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


class SayErrors(click.Group):
    """A group whose commands end with exit status 1 and one clear message when something is wrong."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; a domain error is a message, not a traceback."""
        try:
            return super().invoke(ctx)
        except ChatAPIError as error:
            raise click.ClickException(str(error)) from error
        except UnicodeEncodeError as error:
            if can_be_kept(error.object):
                raise
            raise click.ClickException("An argument is not UTF-8 text.") from error
