"""How commands say what is wrong."""

from __future__ import annotations

from typing import Any

import click

from chatapi.domain.names import can_be_kept
from chatapi.errors import ChatAPIError


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
