"""Who the trail says ran a command."""

from __future__ import annotations

import os
import pwd

import pytest

from chatapi.logic.actors import command_actor


def test_a_command_is_its_account_s_whatever_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(name, "somebody-else\x1b[2J")
    assert command_actor().name == f"command:{pwd.getpwuid(os.getuid()).pw_name}"
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000)
    assert command_actor().name == "command:4000000"
