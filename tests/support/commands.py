"""`chatapi` commands, run in this process: starting Python costs a second a command, and a suite has hundreds."""

from __future__ import annotations

import os
import subprocess
import traceback
from collections.abc import Mapping

from click.testing import CliRunner

from chatapi.cli.main import cli
from tests.support.processes import clean_environment


def run_here(
    arguments: tuple[str, ...], environment: Mapping[str, str], stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run a command with nothing but this environment's settings; what it said and how it ended, as a process would.

    Not for `serve`, which becomes another program.
    """
    wanted = clean_environment(environment)
    unset = dict.fromkeys(os.environ.keys() - wanted.keys())
    done = CliRunner().invoke(cli, list(arguments), input=stdin, env={**unset, **wanted}, prog_name="chatapi")
    stderr = done.stderr
    if done.exception and not isinstance(done.exception, SystemExit):
        stderr += "".join(traceback.format_exception(done.exception))
    return subprocess.CompletedProcess(["chatapi", *arguments], done.exit_code, done.stdout, stderr)
