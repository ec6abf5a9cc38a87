"""Transcripts of a terminal in documents: their commands are run, and what they say is held against what is written.

A block that begins with ```console has commands after `$ `, which go on after `> `, and what they said. Where that is
different each time, the same shape will do: ids, days, instants, amounts of time, secrets. `…` stands for anything,
on a line of its own for any lines.
"""

from __future__ import annotations

import json
import os
import re
import selectors
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import chdir, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.support.commands import run_here
from tests.support.processes import clean_environment, end

PATIENCE_S = 60.0
END = "-- the end of a step of the transcript --"
# What `chatapi` is to the shell: it has the command run by the tests, because starting Python costs a second each time.
SHIM = """#!{python} -SE
import json, os, socket, sys
with socket.create_connection(("127.0.0.1", {port})) as here:
    asked = sys.argv[1:], dict(os.environ), os.getcwd(), sys.stdin.read()
    here.sendall(json.dumps(asked).encode())
    here.shutdown(socket.SHUT_WR)
    code, out, err = json.loads(b"".join(iter(lambda: here.recv(65536), b"")))
sys.stdout.write(out), sys.stdout.flush(), sys.stderr.write(err)
sys.exit(code)
"""
SAME_SHAPE = [
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
    r"\d{4}-\d\d-\d\dT\d\d:\d\d(?::\d\d(?:\.\d+)?)?",
    r"\d{4}-\d\d-\d\d",
    r"\b20\d\d-\d\d\b",
    r"\b\d\d:\d\d(?::\d\d)?\b",
    r"command:[\w-]+",
    r"127\.0\.0\.1:\d+",
    r"whsec_\S+",
    r"denial_[\w-]+",
    r"\d+(?= rows\b)",
]
_VARIES = re.compile("|".join(["…", *SAME_SHAPE]))


@dataclass(frozen=True)
class Step:
    """One command, and what it said."""

    line: int
    command: str
    said: tuple[str, ...]

    def fits(self, said: str) -> bool:
        """Whether this is what was said, but for what is different each time, and for empty lines at its end."""
        pattern = "".join(
            r"(?:[^\n]*\n)*?" if line.strip() == "…" else f"{_pattern_of(line)} *\n" for line in self.said
        )
        return re.fullmatch(pattern, "".join(f"{line}\n" for line in said.rstrip().splitlines())) is not None


def _pattern_of(line: str) -> str:
    """What matches a line: columns may be wider or narrower."""
    done, found = 0, ""
    for match in _VARIES.finditer(line):
        shape = next((each for each in SAME_SHAPE if re.fullmatch(each, match[0])), ".*")
        found += _literally(line[done : match.start()]) + shape
        done = match.end()
    return found + _literally(line[done:])


def _literally(text: str) -> str:
    return re.sub(r"(?:\\ ){2,}", r" +", re.escape(text))


def steps_of(document: Path) -> list[Step]:
    """All steps of a document's transcripts, in their order."""
    found: list[Step] = []
    command, said, begun, inside = "", list[str](), 0, False

    def ended() -> None:
        if command:
            found.append(Step(begun, command, tuple(said)))

    for number, line in enumerate(document.read_text("utf-8").splitlines(), 1):
        if line.startswith("```"):
            ended()
            command, inside = "", line == "```console"
        elif inside and line.startswith("$ "):
            ended()
            command, said, begun = line[2:], [], number
        elif inside and line.startswith("> ") and not said:
            command += f"\n{line[2:]}"
        elif inside:
            said.append(line)
    return found


class Terminal:
    """A shell in a folder, with `chatapi` as a command of it."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._step = folder / ".step"
        self._server = socket.create_server(("127.0.0.1", 0))
        programs = folder / ".bin"
        programs.mkdir()
        (programs / "chatapi").write_text(SHIM.format(python=sys.executable, port=self._server.getsockname()[1]))
        (programs / "chatapi").chmod(0o755)
        (programs / "python3").symlink_to(sys.executable)
        clean = clean_environment(environment)
        self._shell = subprocess.Popen(
            ["bash", "--norc", "--noprofile"],
            cwd=folder,
            env={**clean, "PATH": f"{programs}{os.pathsep}{clean['PATH']}"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def run(self, command: str) -> str:
        """Run a command; all that it says.

        Raises:
            AssertionError: it takes a minute, or the shell ends.
        """
        assert self._shell.stdin is not None
        self._step.write_text(command + "\n")
        self._shell.stdin.write(f'. ./.step </dev/null; echo "{END}"\n'.encode())
        self._shell.stdin.flush()
        said = b"".join(self._until_the_end(command)).decode()
        return said.replace(f"{END}\n", "")

    def _until_the_end(self, command: str) -> Iterator[bytes]:
        assert self._shell.stdout is not None
        give_up_at, tail = time.monotonic() + PATIENCE_S, b""
        with selectors.DefaultSelector() as ready:
            ready.register(self._server, selectors.EVENT_READ)
            ready.register(self._shell.stdout, selectors.EVENT_READ)
            while END.encode() not in tail:
                assert time.monotonic() < give_up_at, f"it does not end: {command}"
                for key, _ in ready.select(1.0):
                    if key.fileobj is self._server:
                        self._answer()
                        continue
                    piece = os.read(self._shell.stdout.fileno(), 65536)
                    assert piece, f"the shell ended with: {command}"
                    tail = (tail + piece)[-1000:]
                    yield piece

    def _answer(self) -> None:
        """Run one `chatapi` command for the shell."""
        connection, _ = self._server.accept()
        with connection:
            asked = json.loads(b"".join(iter(lambda: connection.recv(65536), b"")))
            arguments, environment, folder, stdin = asked
            with chdir(folder):
                done = run_here(tuple(arguments), environment, stdin)
            connection.sendall(json.dumps([done.returncode, done.stdout, done.stderr]).encode())

    def close(self) -> None:
        """End the shell, and what it has started."""
        self._server.close()
        end(self._shell, patience_s=0.0)
        for pipe in (self._shell.stdin, self._shell.stdout):
            assert pipe is not None
            with suppress(BrokenPipeError):
                pipe.close()


@contextmanager
def terminal(folder: Path, environment: Mapping[str, str]) -> Iterator[Terminal]:
    """A shell that ends with the block."""
    made = Terminal(folder, environment)
    try:
        yield made
    finally:
        made.close()
