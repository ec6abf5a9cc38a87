"""`make bench` finds what there is to measure. Nothing is measured here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bench.__main__ import FOLDER, find_scripts
from bench.__main__ import main as bench
from tests.support.processes import PROJECT_ROOT


def test_every_script_is_found_and_says_what_it_measures() -> None:
    scripts = find_scripts()
    assert {"gateways", "ledger_pairs", "large_ledger", "retention", "import_users", "login_burst"} <= scripts.keys()
    assert not {"report", "targets", "accounting", "_pairs"} & scripts.keys()
    assert all(scripts.values())
    assert scripts.keys() <= {path.stem for path in Path(FOLDER).glob("*.py")}


def test_the_help_names_every_script(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        bench(["--help"])
    said = capsys.readouterr().out
    assert ended.value.code == 0
    assert all(name in said for name in find_scripts())


def test_a_name_that_is_none_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        bench(["no_such_script"])
    assert ended.value.code == 2
    assert "there is no no_such_script" in capsys.readouterr().err


@pytest.mark.parametrize("name", find_scripts())
def test_every_script_explains_itself(name: str) -> None:
    command = [sys.executable, "-m", f"bench.{name}", "--help"]
    done = subprocess.run(command, cwd=PROJECT_ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "usage:" in done.stdout
    assert "--quick" in done.stdout
