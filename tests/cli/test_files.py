"""What the installation writes is for its owner only, as docs/security.md says."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable

from tests.support.gateway import Gateway


def test_the_database_and_its_folder_are_for_their_owner_only(make_gateway: Callable[..., Gateway]) -> None:
    installation = make_gateway("", start=False)
    before = os.umask(0)
    try:
        installation.cli("db", "upgrade")
    finally:
        os.umask(before)
    folder = installation.folder / "var"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir() if "sqlite3" in path.name} == {0o600}
