"""`chatapi chat`: a conversation in a terminal, or one question of a script, over HTTP and nothing else."""

from __future__ import annotations

import math
import os
import re
import sys
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import click

from chatapi.client import AuthenticationError, Client, ClientError

HINT = "Say something. /new begins anew, /quit or Ctrl-D ends, Ctrl-C stops an answer."
PROMPT = "> "
# What a model writes must not steer the terminal: no control characters but tab and line feed.
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


@click.command()
@click.option("--url", default="http://127.0.0.1:5000", show_default=True, help="Where the gateway is.")
@click.option("--username", metavar="NAME", help="Who you are; asked for in a terminal.")
@click.option("--model", default="gpt-4o-mini", show_default=True, help="Which model answers.")
@click.option("--settings", metavar="TEXT", default="", help="A system message for the whole conversation.")
@click.argument("text", required=False)
def chat(url: str, username: str | None, model: str, settings: str, text: str | None) -> None:
    """Talk with a model through a gateway.

    With TEXT, or with a question on standard input, writes the answer to standard output and ends. The password is
    asked for, or taken from the environment variable CHATAPI_PASSWORD.
    """
    if text is None and not sys.stdin.isatty():
        text = sys.stdin.buffer.read().decode("utf-8", errors="replace")
    if text is not None and not text.strip():
        raise click.UsageError("There is no question: give it as TEXT, or on standard input.")
    name = username or _ask_username()

    def log_in(password: str) -> Client:
        try:
            return Client(url, name, password, model=model)
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--url") from None

    client = log_in(_password(name))
    if text is None:
        converse(client, settings, log_in_again=lambda: log_in(_ask_password(name)))
        return
    try:
        _write_answer(client, text, [], settings)
    except ClientError as error:
        raise click.ClickException(_explain(error)) from error


def converse(client: Client, settings: str, *, log_in_again: Callable[[], Client]) -> None:
    """Many turns, until /quit or the end of the input. An error ends its turn only, which is then forgotten."""
    with suppress(ImportError):
        import readline  # noqa: F401 - gives input() its line editing and history
    messages: list[dict[str, Any]] = []
    click.echo(HINT, err=True)
    while (said := _read_line()) not in {None, "/quit"}:
        if said == "/new":
            messages.clear()
            click.echo("A new conversation.", err=True)
        elif said:
            try:
                _write_answer(client, said, messages, settings)
            except KeyboardInterrupt:
                click.echo("\rStopped.", err=True)
            except ClientError as error:
                click.secho(_explain(error), fg="red", err=True)
                if isinstance(error, AuthenticationError) and error.retry_after_s is None:
                    client = log_in_again()


def _write_answer(client: Client, text: str, messages: list[dict[str, Any]], settings: str) -> None:
    """Write the answer as it comes; a line of its own ends where it ends, also when it breaks off."""
    shown, last = sys.stdout.isatty(), ""
    with closing(client.chat(text, messages, settings)) as pieces:
        try:
            for piece in pieces:
                last = piece
                sys.stdout.write(CONTROL.sub("", piece) if shown else piece)  # click.echo would change what a pipe gets
                sys.stdout.flush()
        finally:
            if last and not last.endswith("\n"):
                click.echo()


def _read_line() -> str | None:
    """What is typed next; None at the end. Ctrl-C drops what was typed."""
    while True:
        try:
            if sys.stdout.isatty():
                return input(PROMPT).strip()
            click.echo(PROMPT, nl=False, err=True)  # answers go to a file: keep the prompt out of it
            return input().strip()
        except KeyboardInterrupt:
            click.echo(err=True)
        except EOFError:
            click.echo(err=True)
            return None


def _explain(error: ClientError) -> str:
    """What went wrong, and when to try again unless the message says it."""
    message = CONTROL.sub("", error.message)
    if error.retry_after_s is None or "again" in message or "resets at" in message:
        return message
    return f"{message.rstrip('.')}. Try again in {_duration(error.retry_after_s)}."


def _duration(seconds: int) -> str:
    """Rounded up, so that nobody comes too early: `90 s`, `45 min`, `18 h`."""
    for length_s, unit in ((3600, "h"), (60, "min")):
        if seconds >= 2 * length_s:
            return f"{math.ceil(seconds / length_s)} {unit}"
    return f"{seconds} s"


def _ask_username() -> str:
    if not sys.stdin.isatty():
        raise click.UsageError("Missing option '--username'.")
    return str(click.prompt("Username", err=True))


def _password(username: str) -> str:
    return os.environ.get("CHATAPI_PASSWORD") or _ask_password(username)


def _ask_password(username: str) -> str:
    """Ask on the terminal itself: standard input may be the question."""
    try:
        Path("/dev/tty").open("rb+", buffering=0).close()
    except OSError:
        raise click.UsageError("There is no terminal to ask for the password on: set CHATAPI_PASSWORD.") from None
    return str(click.prompt(f"Password of {username}", hide_input=True, err=True))
