"""Wait until the server is ready, then print the two curl lines that get an access token and an answer.

    python scripts/first_call.py SERVER_PID [--users FILE.csv]

Says nothing when the server's process ends first.
"""

from __future__ import annotations

import argparse
import csv
import http.client
import json
import os
import shlex
import socket
import time
from pathlib import Path

from chatapi.settings import load_settings

LONGEST_START_S = 60.0
EVERY_HOST = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]", "": "127.0.0.1"}


def main() -> None:
    """Read the arguments, wait, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("server_pid", type=int, help="process that is starting to serve")
    parser.add_argument(
        "--users", type=Path, metavar="FILE.csv", help="take the first user of this file as the example"
    )
    arguments = parser.parse_args()
    bind = load_settings().bind
    if wait_until_ready(bind, arguments.server_pid):
        print("\n" + first_call(bind, *first_user(arguments.users)) + "\n", flush=True)


def wait_until_ready(bind: str, server_pid: int) -> bool:
    """Whether `/readyz` at `bind` said 200 within a minute, while the process `server_pid` was alive."""
    give_up = time.monotonic() + LONGEST_START_S
    while time.monotonic() < give_up and is_alive(server_pid):
        if is_ready(bind):
            return True
        time.sleep(0.2)
    return False


def is_alive(pid: int) -> bool:
    """Whether there is a process with this id."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def is_ready(bind: str) -> bool:
    """Whether the server at `bind` (`HOST:PORT` or `unix:PATH`) says that it is ready."""
    path = socket_path(bind)
    connection = http.client.HTTPConnection("localhost" if path else host_and_port(bind), timeout=5)
    try:
        if path:
            connection.sock = socket.socket(socket.AF_UNIX)
            connection.sock.connect(path)
        connection.request("GET", "/readyz")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def socket_path(bind: str) -> str | None:
    """The path of the Unix socket that `bind` means, if it means one."""
    return bind.removeprefix("unix:") if bind.startswith("unix:") else None


def host_and_port(bind: str) -> str:
    """Where this machine reaches the server: `0.0.0.0` is no address to call."""
    host, _, port = bind.rpartition(":")
    return f"{EVERY_HOST.get(host, host)}:{port}"


def first_user(users: Path | None) -> tuple[str, str]:
    """Name and password of the first user of a CSV file; what to put there where no file is given."""
    if users is None:
        return "YOUR_USERNAME", "YOUR_PASSWORD"
    with users.open(encoding="utf-8-sig", newline="") as file:
        row = next(csv.DictReader(file))
    return row["username"], row["password"]


def first_call(bind: str, username: str, password: str) -> str:
    """The two lines for a POSIX shell: the first keeps the access token, the second asks a question with it."""
    path = socket_path(bind)
    curl = f"curl -s --unix-socket {shlex.quote(path)}" if path else "curl -s"
    base = "http://localhost" if path else f"http://{host_and_port(bind)}"
    body = shlex.quote(json.dumps({"u": username, "p": password}))
    keep = """sed -n 's/.*"token": *"\\([^"]*\\)".*/\\1/p'"""
    return "\n".join(
        [
            f"TOKEN=$({curl} {base}/token -H 'Content-Type: application/json' -d {body} | {keep})",
            f"""{curl} -G {base}/api -H "Authorization: Bearer $TOKEN" --data-urlencode 'q=Hello, who are you?'""",
        ]
    )


if __name__ == "__main__":
    main()
