"""Backup: the whole installation at one instant, in one file that both kinds of database can be restored from."""

from __future__ import annotations

import hashlib
import os
import secrets
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import orjson

from chatapi import __version__
from chatapi.domain.backup_manifest import MANIFEST, SECRETS, Manifest, TableContent, member_of
from chatapi.errors import InvalidInput
from chatapi.logic.runtime import Runtime
from chatapi.storage import backup as storage
from chatapi.storage.backup import Source

Progress = Callable[[int, int], None]
"""Takes how many rows are done and how many there are."""

COMPRESSION = 4  # of 9: twice as fast as usual, and hardly larger
ROWS_OF_PROGRESS = 1000


def back_up_to_file(runtime: Runtime, path: Path, progress: Progress, *, with_secrets: bool = False) -> Manifest:
    """Make a backup in a file for its owner only, which is there when it is whole, and not before.

    Raises:
        InvalidInput: the file cannot be written.
        DatabaseUnavailable: the database cannot answer.
    """
    try:
        with _drafted(path) as sink:
            return back_up(runtime, sink, progress, with_secrets=with_secrets)
    except OSError as error:
        raise InvalidInput(f"{path} cannot be written: {error.strerror or error}") from error


def back_up(runtime: Runtime, sink: BinaryIO, progress: Progress, *, with_secrets: bool = False) -> Manifest:
    """Write a backup, in bounded memory, while calls go on.

    Args:
        runtime: what to work with.
        sink: where it goes; it need not be a file.
        progress: is told of rows.
        with_secrets: put in what signs access tokens and what encrypts secrets in the database.

    Raises:
        OSError: it cannot be written.
        DatabaseUnavailable: the database cannot answer.
    """
    with (
        storage.snapshot(runtime.database) as source,
        zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED, compresslevel=COMPRESSION) as archive,
    ):
        there, tables = sum(source.count(name) for name in storage.TABLES), list[TableContent]()
        for name in storage.TABLES:
            done = sum(table.rows for table in tables)
            tables.append(_put_table(archive, source, name, done, lambda rows: progress(rows, there)))
        kept = _secrets(runtime) if with_secrets else None
        if kept is not None:
            archive.writestr(SECRETS, kept)
        manifest = Manifest(
            schema=source.schema,
            installation_id=source.installation_id,
            made_at=source.made_at.isoformat(),
            database=source.kind,
            chatapi=__version__,
            tables=tuple(tables),
            secrets_sha256=None if kept is None else hashlib.sha256(kept).hexdigest(),
        )
        archive.writestr(MANIFEST, manifest.dump())
    return manifest


def _put_table(
    archive: zipfile.ZipFile, source: Source, name: str, done: int, progress: Callable[[int], None]
) -> TableContent:
    """Put in a table's rows, each as a JSON line."""
    rows, digest = 0, hashlib.sha256()
    with archive.open(member_of(name), "w", force_zip64=True) as member:
        for row in source.rows(name):
            line = orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)
            member.write(line)
            digest.update(line)
            rows += 1
            if rows % ROWS_OF_PROGRESS == 0:
                progress(done + rows)
    progress(done + rows)
    columns = tuple(column.name for column in storage.TABLES[name].columns)
    return TableContent(name, columns, rows, digest.hexdigest())


def _secrets(runtime: Runtime) -> bytes:
    settings = runtime.settings
    return orjson.dumps({"jwt_secret_key": settings.secret, "encryption_keys": list(settings.sealing_keys)})


@contextmanager
def _drafted(path: Path) -> Iterator[BinaryIO]:
    """A new file beside `path` that takes its place when the block ends well, and is on the disk by then."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        with suppress(FileNotFoundError):
            draft.unlink()
        raise
