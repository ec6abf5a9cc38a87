"""The journal: what this process owes the ledger while the database does not answer, kept on disk.

One file for each process, in one folder for each machine. A process holds the lock (flock) of its file as long as it
lives; a file whose lock is free is a dead process's, and whoever locks it first takes over what is in it. So nothing
is replayed by two processes at once, and it would do no harm: settlements are compare-and-set.

A file holds what its process owes, about 700 bytes an item, and that is bounded: without a database nothing is
admitted, and who owes too much (`storage/writer.py`) admits nothing either.
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import structlog

from chatapi.storage.journal_records import Damaged, Item, Strange, decode, encode

SUFFIX = ".journal"
DAMAGED = ".damaged"
FOLDER_MODE, FILE_MODE = 0o700, 0o600
SPARE_RECORDS = 1000  # that may have been written to the database before a file is worth replacing by a shorter one

log = structlog.get_logger()


class Journal:
    """The journal of one process. Safe for any number of threads or greenlets; nothing here raises.

    Args:
        folder: of this machine's journals, on a local disk that outlives the process; made when it is not there.
        installation_id: whose settlements these are; those of another installation are left alone.
    """

    def __init__(self, folder: Path, installation_id: str) -> None:
        self._folder = folder
        self._installation_id = installation_id
        self._changing = threading.Lock()
        self._file: _File | None = None
        self._unwritten: list[Item] = []
        self._left_alone: set[Path] = set()
        self._problem: str | None = None

    @property
    def problem(self) -> str | None:
        """Why what is owed would not survive this process, in one sentence; None when it would."""
        return self._problem

    def append(self, items: Sequence[Item]) -> bool:
        """Keep these items, durably. Returns False when they are in memory only, until the disk takes them."""
        with self._changing:
            self._unwritten += items
            return self._flush()

    def adopt(self) -> list[Item]:
        """Take over what dead processes of this machine left, into this process's own file. Returns the items.

        Call it now and then: it also makes this process's file ahead of need, and tries again what the disk refused.
        """
        with self._changing:
            if not self._flush():
                return []
            others = [path for path in self._folder.glob(f"*{SUFFIX}") if path not in self._left_alone]
            return [item for path in sorted(others) for item in self._take_over(path)]

    def forget_all_but(self, owed: Sequence[Item]) -> None:
        """The database has everything that was appended, except what is still `owed`."""
        with self._changing:
            if not owed:
                self._unwritten = []
            if self._file is None:
                return
            try:
                if not owed:
                    self._file.empty()
                    self._problem = None
                elif self._file.records > SPARE_RECORDS + 2 * len(owed):
                    shorter = _File.make(self._folder)
                    shorter.append(owed, self._installation_id)
                    self._file.path.unlink()
                    self._file.close()
                    self._file, self._unwritten = shorter, []
            except OSError as error:
                self._report(error)

    def close(self) -> None:
        """Let go of the file, and remove it when nothing is owed."""
        with self._changing:
            if self._file is not None:
                if not self._file.records:
                    with suppress(OSError):  # an empty file is the next process's to remove
                        self._file.path.unlink()
                self._file.close()
                self._file = None

    def _flush(self) -> bool:
        """Write what is unwritten, and have a file in any case. Returns whether nothing is unwritten now."""
        try:
            if self._file is None:
                self._file = _File.make(self._folder)
            if self._unwritten:
                self._file.append(self._unwritten, self._installation_id)
        except OSError as error:
            self._report(error)
            return False
        self._unwritten, self._problem = [], None
        return True

    def _report(self, error: OSError) -> None:
        self._problem = f"The journal in {self._folder} cannot be written: {error.strerror or error}"
        log.error("journal_not_written", folder=str(self._folder), reason=str(error), in_memory=len(self._unwritten))

    def _take_over(self, path: Path) -> list[Item]:
        """The items of a file whose process is dead, once they are in this process's own; else nothing."""
        try:
            left = _File.lock(path)
            if left is None:
                return []
            try:
                return self._move(left, path)
            finally:
                left.close()
        except OSError as error:
            log.error("journal_not_taken_over", file=str(path), reason=str(error))
            return []

    def _move(self, left: _File, path: Path) -> list[Item]:
        found = left.read(self._installation_id)
        if found.strange:
            self._left_alone.add(path)
            log.error("journal_left_alone", file=str(path), reason=found.strange)
            return []
        if found.items and self._file is not None:
            self._file.append(found.items, self._installation_id)
            log.warning("journal_taken_over", file=str(path), items=len(found.items))
        if found.damaged:
            log.error("journal_damaged", file=str(path), lines=found.damaged, kept_as=path.stem + DAMAGED)
            path.rename(path.with_suffix(DAMAGED))
        else:
            path.unlink()
        return found.items


@dataclass
class _Found:
    """What a file holds: items, how many lines were damaged, and why it is not ours to replay, if it is not."""

    items: list[Item] = field(default_factory=list)
    damaged: int = 0
    strange: str | None = None


class _File:
    """One locked file of lines."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self.records = 0
        self._descriptor = descriptor
        self._end = 0

    @classmethod
    def make(cls, folder: Path) -> _File:
        """Make a file, locked and durable in its folder."""
        if not folder.is_dir():
            folder.mkdir(FOLDER_MODE, parents=True, exist_ok=True)
            _sync_folder(folder.parent)
        while True:
            path = folder / f"{os.getpid()}-{uuid4().hex}{SUFFIX}"
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE))
            made = cls.lock(path)
            if made is not None:  # else somebody who looks for free files was faster, and has removed it
                _sync_folder(folder)
                return made

    @classmethod
    def lock(cls, path: Path) -> _File | None:
        """Lock the file; None when its process lives, another process is at it, or it has just been removed."""
        try:
            descriptor = os.open(path, os.O_RDWR)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            if isinstance(error, BlockingIOError):
                return None
            raise
        if path.exists() and os.path.samestat(os.fstat(descriptor), path.stat()):
            return cls(path, descriptor)
        os.close(descriptor)
        return None

    def read(self, installation_id: str) -> _Found:
        """The items. A last line without its newline was torn while it was written: nobody was told that it is kept."""
        found = _Found()
        with os.fdopen(os.dup(self._descriptor), "rb") as file:
            file.seek(0)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                try:
                    found.items.append(decode(line[:-1], installation_id))
                except Damaged:
                    found.damaged += 1
                except Strange as error:
                    found.strange = str(error)
        return found

    def append(self, items: Sequence[Item], installation_id: str) -> None:
        """Write the items after the last whole line, and return when they are on the disk.

        Raises:
            OSError: they are not. What was written of them is cut off again, now or by the next `append`.
        """
        lines = _encoded(items, installation_id)
        os.ftruncate(self._descriptor, self._end)
        try:
            written = 0
            while written < len(lines):
                written += os.pwrite(self._descriptor, lines[written:], self._end + written)
            os.fsync(self._descriptor)
        except OSError:
            os.ftruncate(self._descriptor, self._end)
            raise
        self._end += len(lines)
        self.records += len(items)

    def empty(self) -> None:
        """Cut everything off. Should it come back after a power cut, it is replayed and changes nothing."""
        if self._end:
            os.ftruncate(self._descriptor, 0)
        self._end = self.records = 0

    def close(self) -> None:
        """Let go of the lock."""
        os.close(self._descriptor)


def _encoded(items: Sequence[Item], installation_id: str) -> bytes:
    try:
        return encode(items, installation_id)
    except TypeError:  # one is wrong in itself, and no database takes it either
        lines = b""
        for item in items:
            try:
                lines += encode([item], installation_id)
            except TypeError as error:
                log.error("journal_refused", error=str(error))
        return lines


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
