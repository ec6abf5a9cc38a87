"""`chatapi chat`: one question of a script, and a conversation in a terminal."""

from __future__ import annotations

import os
import pty
import subprocess
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from select import select

import pytest

from tests.support.faults import FaultyUpstream, reply_to
from tests.support.gateway import Gateway
from tests.support.processes import chatapi_command, clean_environment, end
from tests.support.routes import WRONG_CREDENTIALS
from tests.support.users import PASSWORD

PATIENCE_S = 20.0
LOCAL_MODES = 3  # where tcgetattr has them
CTRL_C, CTRL_D = "\x03", "\x04"


class Terminal:
    """`chatapi chat` on a terminal of its own, at which somebody types."""

    def __init__(self, gateway: Gateway, *arguments: str) -> None:
        self._screen, self._tty = pty.openpty()  # both stay open: a screen without a terminal cannot be read
        # What a session without a terminal opens first becomes its terminal: /dev/tty, and where Ctrl-C comes from.
        script = 'exec "$@" <"$0" >"$0" 2>&1'
        command = [*chatapi_command(), "chat", "--url", gateway.base_url, *arguments]
        self.process = subprocess.Popen(
            ["sh", "-c", script, os.ttyname(self._tty), *command],
            env=clean_environment({"TERM": "dumb"}), cwd=gateway.folder, start_new_session=True,
        )  # fmt: skip
        self._read = ""

    def expect(self, text: str) -> str:
        """Wait until `text` is shown; what was shown since the last time, with it."""
        deadline = time.monotonic() + PATIENCE_S
        while text not in self._read:
            assert select([self._screen], [], [], deadline - time.monotonic())[0], f"no {text!r} in {self._read!r}"
            self._read += os.read(self._screen, 4096).decode("utf-8", errors="replace").replace("\r\n", "\n")
        seen, _, self._read = self._read.partition(text)
        return seen + text

    def type(self, keys: str) -> None:
        """Press these keys."""
        os.write(self._screen, keys.encode())

    def log_in(self, password: str = PASSWORD) -> str:
        """Type the password when it is asked for; what was shown until then."""
        seen = self.expect("Password")
        deadline = time.monotonic() + PATIENCE_S
        while termios.tcgetattr(self._tty)[LOCAL_MODES] & termios.ECHO:  # what is typed before is dropped
            assert time.monotonic() < deadline, "the password would be shown"
            time.sleep(0.01)
        self.type(f"{password}\n")
        return seen

    def close(self) -> None:
        """End whatever still runs."""
        end(self.process)
        os.close(self._screen)
        os.close(self._tty)


@pytest.fixture
def open_terminal(gateway: Gateway) -> Iterator[Callable[..., Terminal]]:
    with ExitStack() as stack:

        def open_one(*arguments: str, log_in: bool = True) -> Terminal:
            terminal = Terminal(gateway, *arguments)
            stack.callback(terminal.close)
            if log_in:
                terminal.log_in()
                terminal.expect("> ")
            return terminal

        yield open_one


@pytest.fixture
def chat(gateway: Gateway) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run `chatapi chat` as a script does."""
    username = gateway.users.take("many").name

    def run(
        *arguments: str, stdin: str = "", password: str = PASSWORD, name: str = username
    ) -> subprocess.CompletedProcess[str]:
        arguments = ("chat", "--url", gateway.base_url, "--username", name, *arguments)
        return gateway.run(*arguments, environment={"CHATAPI_PASSWORD": password}, stdin=stdin)

    return run


def test_a_question_as_argument_gives_the_answer_and_nothing_else_on_stdout(
    chat: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    done = chat("hello")
    assert (done.returncode, done.stdout, done.stderr) == (0, reply_to("hello") + "\n", "")


def test_a_question_on_stdin_goes_out_whole_with_settings_and_model(
    chat: Callable[..., subprocess.CompletedProcess[str]], faults: FaultyUpstream, marker: str
) -> None:
    question = f"{marker}\nsecond line: ünïcödé\n"
    done = chat("--settings", "Be brief.", "--model", "other", stdin=question)
    assert (done.returncode, done.stdout) == (0, reply_to(question) + "\n")
    (served,) = faults.about(marker)
    assert served.body["model"] == "other"
    assert [message["content"] for message in served.body["messages"]] == ["Be brief.", question]


@pytest.mark.parametrize("fault", ["cut", "status-500"])
def test_a_script_sees_a_failed_answer_in_the_exit_status(
    chat: Callable[..., subprocess.CompletedProcess[str]], fault: str
) -> None:
    done = chat(f"some words fault:{fault}")
    assert done.returncode == 1
    assert done.stderr.startswith("Error: ")
    assert "Traceback" not in done.stderr


def test_a_script_is_told_of_a_wrong_password_and_of_a_used_up_quota(
    chat: Callable[..., subprocess.CompletedProcess[str]], gateway: Gateway
) -> None:
    wrong = chat("hello", password="wrong", name=gateway.users.take().name)
    assert (wrong.returncode, wrong.stdout, wrong.stderr) == (1, "", f"Error: {WRONG_CREDENTIALS}\n")
    used_up = chat("hello", name=gateway.users.take("none").name)
    assert (used_up.returncode, used_up.stdout) == (1, "")
    assert "limit of 0 requests" in used_up.stderr


def test_no_question_at_all_is_a_wrong_call(chat: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    done = chat(stdin=" \n")
    assert (done.returncode, done.stdout) == (2, "")
    assert "no question" in done.stderr


def test_without_a_terminal_the_password_must_be_in_the_environment(gateway: Gateway) -> None:
    done = subprocess.run(
        [*chatapi_command(), "chat", "--url", gateway.base_url, "--username", "somebody"],
        env=clean_environment({}), input="the question, and not the password", capture_output=True, text=True,
        start_new_session=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert "CHATAPI_PASSWORD" in done.stderr


def test_a_terminal_has_many_turns_that_know_of_each_other(
    open_terminal: Callable[..., Terminal], gateway: Gateway, faults: FaultyUpstream, marker: str
) -> None:
    terminal = open_terminal("--username", gateway.users.take("many").name)
    for number in (1, 2):
        terminal.type(f"{marker}-{number}\n")
        terminal.expect(reply_to(f"{marker}-{number}"))
        terminal.expect("> ")
    terminal.type("/new\n")
    terminal.expect("> ")
    terminal.type(f"{marker}-3\n")
    terminal.expect(reply_to(f"{marker}-3"))
    assert [len(served.body["messages"]) for served in faults.about(marker)] == [1, 3, 1]
    terminal.expect("> ")
    terminal.type("/quit\n")
    assert terminal.process.wait(PATIENCE_S) == 0


def test_the_name_is_asked_for_and_a_mistyped_password_may_be_corrected(
    open_terminal: Callable[..., Terminal], gateway: Gateway
) -> None:
    terminal = open_terminal(log_in=False)
    terminal.expect("Username: ")
    terminal.type(f"{gateway.users.take('many').name}\n")
    seen = ""
    for password in ("mistyped", PASSWORD):
        seen += terminal.log_in(password) + terminal.expect("> ")
        terminal.type("hello\n")
        seen += terminal.expect(WRONG_CREDENTIALS if password == "mistyped" else reply_to("hello"))
    assert "mistyped" not in seen
    assert PASSWORD not in seen


def test_an_error_is_shown_and_the_chat_goes_on_without_that_turn(
    open_terminal: Callable[..., Terminal], gateway: Gateway, faults: FaultyUpstream, marker: str
) -> None:
    terminal = open_terminal("--username", gateway.users.take("many").name)
    terminal.type(f"{marker} fault:error-event\n")
    terminal.expect("You said:")
    terminal.expect("> ")
    terminal.type(f"{marker} again\n")
    terminal.expect(reply_to(f"{marker} again"))
    assert len(faults.about(f"{marker} again")[0].body["messages"]) == 1
    terminal.expect("> ")
    terminal.type(CTRL_D)
    assert terminal.process.wait(PATIENCE_S) == 0


def test_ctrl_c_stops_an_answer_at_the_upstream_and_drops_a_half_typed_line(
    open_terminal: Callable[..., Terminal], gateway: Gateway, faults: FaultyUpstream, marker: str
) -> None:
    terminal = open_terminal("--username", gateway.users.take("many").name)
    terminal.type(f"{marker} fault:slow {'many words ' * 40}\n")
    terminal.expect("You said:")
    terminal.type(CTRL_C)
    terminal.expect("Stopped.")
    terminal.expect("> ")
    (served,) = faults.about(marker)
    deadline = time.monotonic() + PATIENCE_S
    while not served.aborted:
        assert time.monotonic() < deadline, "the upstream was never told"
        time.sleep(0.05)
    terminal.type("half a line")
    terminal.expect("half a line")
    time.sleep(0.2)  # Python sees a Ctrl-C only at the next key, if it comes between an echo and the wait for more keys
    terminal.type(CTRL_C)
    terminal.expect("> ")
    terminal.type(f"{marker} whole\n")
    terminal.expect(reply_to(f"{marker} whole"))


def test_a_model_cannot_steer_the_terminal(open_terminal: Callable[..., Terminal], gateway: Gateway) -> None:
    question = "\x1b]0;a title\x07\x1b[31mred"
    done = gateway.run(
        "chat", "--url", gateway.base_url, "--username", gateway.users.take("many").name, question,
        environment={"CHATAPI_PASSWORD": PASSWORD},
    )  # fmt: skip
    assert question in done.stdout, "a pipe gets what the model said, to the byte"
    terminal = open_terminal("--username", gateway.users.take("many").name, question, log_in=False)
    terminal.log_in()
    assert "\x1b" not in terminal.expect("[31mred ¿Qué más?")
