"""The journal: what a process owes survives it, is taken over exactly once, and no damage to a file costs more than
the line it hit."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from chatapi.storage.journal import DAMAGED, SPARE_RECORDS, Journal
from chatapi.storage.journal_records import VERSION, encode
from tests.storage.settlements import OURS, THEIRS, abandonment, call_id_of, settlement
from tests.support.processes import PROJECT_ROOT, clean_environment, end


class Child:
    """A process of its own that has a journal in this folder."""

    def __init__(self, folder: Path, installation_id: str = OURS) -> None:
        command = [sys.executable, "-m", "tests.storage.journal_child", str(folder), installation_id]
        self.process = subprocess.Popen(
            command,
            env=clean_environment({}),
            cwd=PROJECT_ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )

    def tell(self, order: str) -> Any:
        """Have it do something; what came of it."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(order + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        """End it, whatever it does."""
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()
        end(self.process)


@pytest.fixture
def child(tmp_path: Path) -> Iterator[Callable[[], Child]]:
    """Make processes that journal in `tmp_path`."""
    children: list[Child] = []

    def make(installation_id: str = OURS) -> Child:
        children.append(Child(tmp_path, installation_id))
        return children[-1]

    yield make
    for made in children:
        made.close()


def lines_in(folder: Path) -> int:
    return sum(path.read_bytes().count(b"\n") for path in folder.iterdir())


def left_behind(folder: Path, count: int, installation_id: str = OURS) -> Path:
    """The file of a process that died and owed `count` settlements."""
    dead = Journal(folder, installation_id)
    assert dead.append([settlement(f"call-{number}") for number in range(count)])
    (path,) = folder.iterdir()
    dead.close()
    return path


def adopted(folder: Path) -> list[str]:
    journal = Journal(folder, OURS)
    ids = [call_id_of(item) for item in journal.adopt()]
    journal.close()
    return ids


def test_what_a_killed_process_owed_is_taken_over_and_what_a_living_one_owes_is_not(
    tmp_path: Path, child: Callable[[], Child]
) -> None:
    dead, living = child(), child()
    assert dead.tell("append 0 3")["said"] and living.tell("append 3 3")["said"]
    dead.kill()
    heir = child()
    assert heir.tell("adopt")["said"] == ["call-0", "call-1", "call-2"]
    assert heir.tell("adopt")["said"] == []
    assert lines_in(tmp_path) == 6
    heir.kill()  # before it could write them to the database: the next one finds them
    assert living.tell("adopt")["said"] == ["call-0", "call-1", "call-2"]
    living.tell("forget")
    assert lines_in(tmp_path) == 0


def test_many_processes_that_look_at_once_take_over_everything_exactly_once(
    tmp_path: Path, child: Callable[[], Child]
) -> None:
    for number in range(40):
        dead = Journal(tmp_path, OURS)
        dead.append([settlement(f"call-{number}")])
        dead.close()
    heirs = [child() for _ in range(4)]
    for heir in heirs:
        heir.tell("append 100 0")  # it has started
    with ThreadPoolExecutor(len(heirs)) as pool:
        found = list(pool.map(lambda heir: heir.tell("adopt")["said"], heirs))
    assert sorted(call_id for ids in found for call_id in ids) == sorted(f"call-{number}" for number in range(40))
    assert len(list(tmp_path.iterdir())) == len(heirs)


def test_a_record_that_was_torn_while_it_was_written_is_cut_and_the_others_are_kept(tmp_path: Path) -> None:
    path = left_behind(tmp_path, 3)
    whole = path.read_bytes()
    for cut in (1, 20, len(whole) // 3 - 1):
        path.write_bytes(whole[:-cut])
        assert adopted(tmp_path) == ["call-0", "call-1"]
        shutil.rmtree(tmp_path)
        tmp_path.mkdir()


def test_a_damaged_record_is_reported_and_skipped_and_its_file_is_kept(tmp_path: Path) -> None:
    path = left_behind(tmp_path, 3)
    first, second, third = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first + second.replace(b'"completion_tokens":5', b'"completion_tokens":4') + third)
    with capture_logs() as logs:
        assert adopted(tmp_path) == ["call-0", "call-2"]
    assert ("journal_damaged", 1) in [(log["event"], log.get("lines")) for log in logs]
    assert [kept.name for kept in tmp_path.glob(f"*{DAMAGED}")] == [path.stem + DAMAGED]


def test_a_block_of_zeroes_as_a_power_cut_leaves_it_costs_nothing_else(tmp_path: Path) -> None:
    path = left_behind(tmp_path, 2)
    path.write_bytes(path.read_bytes() + b"\0" * 4096)
    assert adopted(tmp_path) == ["call-0", "call-1"]


def test_the_journal_of_another_installation_is_never_replayed(tmp_path: Path) -> None:
    path = left_behind(tmp_path, 2, THEIRS)
    before = path.read_bytes()
    assert adopted(tmp_path) == []
    assert path.read_bytes() == before


def test_a_version_that_is_not_known_is_kept_and_reported_once(tmp_path: Path) -> None:
    path = left_behind(tmp_path, 1)
    (line,) = encode([settlement("call-0")], OURS).splitlines()
    _, _, payload = line.partition(b" ")
    newer = payload.replace(b'"version":%d' % VERSION, b'"version":%d' % (VERSION + 1))
    path.write_bytes(b"%08x %b\n" % (zlib.crc32(newer), newer))
    journal = Journal(tmp_path, OURS)
    with capture_logs() as logs:
        assert journal.adopt() == journal.adopt() == []
    journal.close()
    (said,) = [log for log in logs if log["event"] == "journal_left_alone"]
    assert f"version {VERSION + 1}" in said["reason"]
    assert path.exists()


def test_a_full_disk_leaves_the_item_in_memory_and_says_so_until_there_is_room(
    tmp_path: Path, child: Callable[[], Child]
) -> None:
    full = child()
    assert full.tell("append 0 1") == {"said": True, "problem": None}
    room = sum(path.stat().st_size for path in tmp_path.iterdir())
    full.tell(f"limit {room + 100}")  # the next record does not fit, but a part of it does
    refused = full.tell("append 1 1")
    assert refused["said"] is False
    assert "cannot be written" in refused["problem"]
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) == room
    assert full.tell("adopt")["problem"] is not None
    full.tell(f"limit {room * 10}")
    assert full.tell("adopt")["problem"] is None  # a round of keeping writes what waited
    full.kill()
    assert adopted(tmp_path) == ["call-0", "call-1"]


def test_a_folder_that_cannot_be_written_is_reported_before_anything_is_owed(tmp_path: Path) -> None:
    blocked = tmp_path / "var"
    blocked.write_text("a file where the folder should be")
    journal = Journal(blocked, OURS)
    assert journal.adopt() == []
    assert str(blocked) in (journal.problem or "")
    assert journal.append([settlement("call-0")]) is False
    blocked.unlink()
    assert journal.append([settlement("call-1")]) is True
    assert journal.problem is None
    journal.close()
    assert adopted(blocked) == ["call-0", "call-1"]


def test_an_item_is_on_the_disk_before_append_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[tuple[str, int]] = []
    fsync = os.fsync

    def watched(descriptor: int) -> None:
        fsync(descriptor)
        synced.append((str(Path(f"/proc/self/fd/{descriptor}").readlink()), os.fstat(descriptor).st_size))

    monkeypatch.setattr(os, "fsync", watched)
    folder = tmp_path / "var" / "journal"
    journal = Journal(folder, OURS)
    journal.append([settlement("call-0")])
    (path,) = folder.iterdir()
    assert (str(path), path.stat().st_size) in synced
    assert {str(tmp_path / "var"), str(folder)} <= {where for where, _ in synced}  # else the file's name may be lost
    journal.close()


def test_what_is_written_to_the_database_is_forgotten(tmp_path: Path) -> None:
    journal = Journal(tmp_path, OURS)
    journal.append([settlement("call-0"), abandonment("call-1")])
    journal.forget_all_but([])
    assert lines_in(tmp_path) == 0
    journal.append([settlement("call-2")])
    journal.close()
    assert adopted(tmp_path) == ["call-2"]


def test_a_process_that_owes_nothing_leaves_no_file(tmp_path: Path) -> None:
    journal = Journal(tmp_path, OURS)
    journal.adopt()
    assert len(list(tmp_path.iterdir())) == 1
    journal.close()
    assert list(tmp_path.iterdir()) == []


def test_a_journal_that_is_never_quite_repaid_does_not_grow_for_ever(tmp_path: Path) -> None:
    journal, owed = Journal(tmp_path, OURS), [settlement("call-last")]
    for number in range(3):
        journal.append([settlement(f"call-{number}-{count}") for count in range(SPARE_RECORDS)])
        journal.append(owed)
        journal.forget_all_but(owed)
    assert lines_in(tmp_path) <= SPARE_RECORDS + 3
    journal.close()
    assert "call-last" in adopted(tmp_path)


def test_an_item_that_no_json_can_say_does_not_keep_the_others_from_being_kept(tmp_path: Path) -> None:
    absurd = settlement("call-1", prompt_bound=2**70)
    journal = Journal(tmp_path, OURS)
    assert journal.append([settlement("call-0"), absurd, settlement("call-2")])
    journal.close()
    assert adopted(tmp_path) == ["call-0", "call-2"]
