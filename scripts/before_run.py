"""Refuse what `make run` should not begin: at an address that is taken, or with a real upstream and the demo's users.

    python scripts/before_run.py DEMO.csv

Prints what to do instead, on standard error, and exits with 1. Where nobody could log in, it says how to make users.
"""

from __future__ import annotations

import argparse
import csv
import errno
import json
import socket
import subprocess
import sys
import time
from pathlib import Path

from chatapi.settings import load_settings

PATIENCE_S = 3.0  # a server that was told to end may still hold the address


def main() -> None:
    """Read the arguments, look, and refuse."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("demo", type=Path, metavar="DEMO.csv", help="the users of the demonstration")
    arguments = parser.parse_args()
    settings = load_settings()
    host, _, port = settings.bind.rpartition(":")
    if not settings.bind.startswith("unix:") and is_taken(host, int(port)):
        sys.exit(
            f"{settings.bind} is taken: another program serves there."
            f" Stop it, or take another port: CHATAPI_BIND={host}:{int(port) + 1} make run"
        )
    if settings.has_upstream:
        refuse_demo_users(arguments.demo)


def is_taken(host: str, port: int) -> bool:
    """Whether the address stays taken."""
    address = (host.strip("[]"), port)
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    give_up_at = time.monotonic() + PATIENCE_S
    while True:
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(address)
            except OSError as error:
                if error.errno != errno.EADDRINUSE:  # what else is wrong the server says itself
                    return False
            else:
                return False
        if time.monotonic() >= give_up_at:
            return True
        time.sleep(0.1)


def refuse_demo_users(demo: Path) -> None:
    """Exit where users with published passwords could use a real upstream."""
    with demo.open(encoding="utf-8-sig", newline="") as file:
        published = {(row["tenant"], row["username"]) for row in csv.DictReader(file)}
    serving = {tenant["tenant"] for tenant in listed("tenants") if tenant["status"] == "active"}
    if not serving:
        print("Nobody can log in yet. To add a user: .venv/bin/chatapi users add --help", file=sys.stderr)
    for name in sorted(serving & {tenant for tenant, _ in published}):
        users = {(name, user["username"]) for user in listed("users", "--tenant", name) if user["status"] == "active"}
        if users & published:
            sys.exit(
                "The users of the demonstration are still in this database; their passwords are published, and your"
                f" upstream is real. Stop serving them: .venv/bin/chatapi tenants disable {name}"
                "\nOr begin with an empty database: move var/ away. If they have other passwords by now: chatapi serve"
            )


def listed(what: str, *options: str) -> list[dict[str, str]]:
    """What `chatapi WHAT list --json` prints; where it fails it says why, and all ends with its exit code."""
    command = [str(Path(sys.executable).with_name("chatapi")), what, "list", "--json", *options]
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE)
    if done.returncode:
        sys.exit(done.returncode)
    found: list[dict[str, str]] = json.loads(done.stdout)
    return found


if __name__ == "__main__":
    main()
