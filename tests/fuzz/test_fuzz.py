"""schemathesis over our own OpenAPI document: whatever is sent, no error of the server, and no reply that the document
does not have.

`make fuzz` runs it for minutes, each time with other data; `make test` for seconds, always with the same.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.gateway import SHARED_SETTINGS, Gateway, MakeGateway
from tests.support.office import Office, open_office
from tests.support.postgres import FreshDatabase
from tests.support.processes import clean_environment

ADMINISTRATION = "^/(admin|invitation)"
CONFIGURATION = Path(__file__).with_name("schemathesis.toml")
LONG = "CHATAPI_FUZZ" in os.environ
ROLES = ("operator", "admin") if LONG else ("operator",)
SHORT_RUN = ("--phases=examples,coverage", "--seed=1", "--generation-deterministic")
SHORTEST_RUN = ("--phases=examples", "--seed=1", "--generation-deterministic")
"""Of administration, whose every route `tests/contract/test_admin_table.py` asks as everybody."""
LONG_RUN = ("--phases=examples,coverage,fuzzing", "--generation-database=none", "--max-time=200")
PATIENCE_S = 280 if LONG else 150


@pytest.fixture(scope="module")
def fuzzed(lasting_database: FreshDatabase, make_lasting_gateway: MakeGateway, demo_url: str) -> Gateway:
    gateway = make_lasting_gateway(
        lasting_database("sqlite"), upstream_url=demo_url, environment=SHARED_SETTINGS, start=False
    )
    gateway.start_with_users()
    return gateway


@pytest.fixture(scope="module", autouse=True)
def offices(fuzzed: Gateway) -> dict[str, Office]:
    """One for each role that fuzzes; they sign in before logins are fuzzed, which throttles them."""
    return {who: open_office(fuzzed) for who in ROLES}


def fuzz(gateway: Gateway, folder: Path, token: str, ids: dict[str, str], *arguments: str) -> None:
    """Run schemathesis as somebody; fails with what it says."""
    environment = {"ACCESS_TOKEN": token, "SCHEMATHESIS_HOOKS": "tests.fuzz.hooks", "FUZZ_IDS": json.dumps(ids)}
    done = subprocess.run(
        [
            str(Path(sys.executable).with_name("schemathesis")),
            f"--config-file={CONFIGURATION}",
            "run",
            f"{gateway.base_url}/openapi.json",
            "--no-color",
            *arguments,
        ],
        cwd=folder,
        env=clean_environment(environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    print(done.stdout)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "unexpected_error" not in gateway.log()


def test_no_request_makes_the_server_fail_or_answer_as_is_not_documented(fuzzed: Gateway, tmp_path: Path) -> None:
    fuzz(
        fuzzed,
        tmp_path,
        fuzzed.somebody,
        {},
        f"--exclude-path-regex={ADMINISTRATION}",
        *(LONG_RUN if LONG else SHORT_RUN),
    )


@pytest.mark.parametrize("who", ROLES)
def test_administration_neither_fails_nor_answers_as_is_not_documented(
    fuzzed: Gateway, offices: dict[str, Office], tmp_path: Path, who: str
) -> None:
    """About a tenant and a user that are there, and others that are not."""
    office = offices[who]
    ids = {"tenant_id": office.ids["tenant"], "user_id": office.ids["user"]}
    fuzz(
        fuzzed,
        tmp_path,
        office.tokens[who],
        ids,
        f"--include-path-regex={ADMINISTRATION}",
        *(LONG_RUN if LONG else SHORTEST_RUN),
    )
