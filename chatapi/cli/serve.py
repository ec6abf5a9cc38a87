"""`chatapi serve`: become gunicorn."""

from __future__ import annotations

import os
import sys

import click

from chatapi.errors import ConfigurationError
from chatapi.logic import demo, installation, schema
from chatapi.parts import build_runtime
from chatapi.settings import Settings, load_settings

NO_UPSTREAM = """No upstream is configured. Set one of these, in the environment or in envs/.env:
  OPENAI_API_KEY                                    for OpenAI
  AZURE_OPENAI_ENDPOINT and AZURE_OPENAI_API_KEY    for Azure OpenAI
  OPENAI_BASE_URL                                   for any compatible server
or try ChatAPI without any: chatapi serve --demo"""


@click.command()
@click.option(
    "--demo",
    "with_demo",
    is_flag=True,
    help="Answer with a local demo upstream instead of a real model; loopback only.",
)
def serve(with_demo: bool) -> None:
    """Serve until SIGTERM (finish what is running, then stop) or Ctrl-C. SIGHUP reads the settings again.

    Address, workers and everything else are settings: CHATAPI_BIND, CHATAPI_WORKERS, … (docs/configuration.md).
    """
    settings = load_settings()
    if not with_demo and not settings.has_upstream:
        raise ConfigurationError(NO_UPSTREAM)
    _check_database(settings)
    if with_demo:
        _use_demo_upstream(settings)
    os.execv(sys.executable, [sys.executable, "-m", "chatapi.gunicorn_master", "-c", "python:chatapi.gunicorn_conf"])


def _check_database(settings: Settings) -> None:
    """Say what is wrong once and here, rather than from every worker."""
    runtime = build_runtime(settings)
    try:
        schema.require_served(runtime)
        installation.check_installation(runtime)
    finally:
        runtime.database.close()


def _use_demo_upstream(settings: Settings) -> None:
    if settings.has_upstream:
        raise ConfigurationError("An upstream is configured; --demo would hide it. Call chatapi serve without --demo.")
    if not settings.bound_to_loopback:
        raise ConfigurationError(f"--demo serves on loopback only, and CHATAPI_BIND is {settings.bind}")
    os.environ["OPENAI_BASE_URL"] = demo.start()
    os.environ["OPENAI_API_KEY"] = "demo"
    click.secho("DEMO: answers come from a local demo upstream, not from any model.", fg="yellow", bold=True, err=True)
