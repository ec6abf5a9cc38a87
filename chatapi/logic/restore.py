"""Restore: a backup into an empty database, all of it or nothing.

Everything in the file is read and compared with its manifest before a row is written. Calls that were in flight when
the backup was made are held by nobody: they are expired, which charges them at their holds, until the truth about them
comes from a journal, if there is one.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import orjson

from chatapi.domain.backup_manifest import MANIFEST, SECRETS, Manifest, TableContent, read_manifest
from chatapi.domain.retention import EPOCH, Month
from chatapi.errors import InvalidInput
from chatapi.logic import installation, keeping
from chatapi.logic.backup import Progress
from chatapi.logic.runtime import Runtime
from chatapi.logic.sealing import SealedElsewhere, vault_of
from chatapi.settings.secret import keep
from chatapi.storage import backup as storage
from chatapi.storage import schema, sealed

DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, OSError)
BUFFER_BYTES = 1 << 20
ROWS_OF_PROGRESS = 1000
MS_OF_ID = slice(0, 13)  # of the text of a time-ordered id: 48 bits of milliseconds, and a hyphen among them
SECRETS_TRIED = 10
ENCRYPTED = 1  # of a member's flags (APPNOTE 6.3, 4.4.4)
DAY_MS = 86_400_000
LAST_DAY = 2_900_000  # since 1970, which calendars know; ids of later ones are of clocks that were wrong


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restore did, and what is left to be done by hand, a sentence each."""

    manifest: Manifest
    expired_calls: int
    to_do: tuple[str, ...]


def restore(runtime: Runtime, path: Path, progress: Progress) -> Restored:
    """Fill an empty database from a backup, and expire the calls that were in flight.

    Args:
        runtime: of the installation that is to be; its database is migrated and empty.
        path: of the backup.
        progress: is told of rows; each is read twice, first to be verified.

    Raises:
        InvalidInput: the file is no backup, is damaged, or is of another schema; or the database is not empty. Nothing
            was written.
        DatabaseUnavailable: the database cannot answer.
    """
    with _archive(path) as archive:
        manifest = _manifest(archive)
        _require_fitting(runtime, manifest)
        months = _verify(archive, manifest, progress)
        carried = _carried(archive, manifest)
        with storage.filling(runtime.database) as target:
            target.make_room(months)
            done = manifest.rows
            for table in manifest.tables:
                target.fill(table.name, _rows(archive, table))
                done += table.rows
                progress(done, 2 * manifest.rows)
    expired = keeping.sweep(runtime)
    return Restored(manifest, expired, tuple(_to_do(runtime, carried)))


@contextmanager
def _archive(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        file = path.open("rb")
    except FileNotFoundError:
        raise InvalidInput(f"There is no file {path}.") from None
    except OSError as error:
        raise InvalidInput(f"The file {path} cannot be read: {error.strerror}.") from None
    with file:
        with _reading():
            archive = zipfile.ZipFile(file)
        with archive:
            yield archive


@contextmanager
def _reading() -> Iterator[None]:
    """Say what goes wrong while the file is read. What goes wrong with its rows elsewhere is no fault of it."""
    try:
        yield
    except DAMAGED as error:
        raise _damaged(error) from error


def _damaged(error: object) -> InvalidInput:
    return InvalidInput(f"The file is no backup, or it is damaged or cut short ({error}). Nothing was restored.")


def _content(archive: zipfile.ZipFile, member: str) -> bytes:
    with _reading():
        return archive.read(member)


def _manifest(archive: zipfile.ZipFile) -> Manifest:
    if any(info.flag_bits & ENCRYPTED for info in archive.infolist()):
        raise _damaged("it is encrypted")
    there = set(archive.namelist())
    if MANIFEST not in there:
        raise _damaged("it has no manifest")
    try:
        manifest = read_manifest(_content(archive, MANIFEST))
    except ValueError as error:
        raise _damaged(error) from None
    members = {table.member for table in manifest.tables} | ({SECRETS} if manifest.secrets_sha256 else set())
    if members - there:
        raise _damaged("a part of it is missing")
    return manifest


def _require_fitting(runtime: Runtime, manifest: Manifest) -> None:
    """Refuse a backup of another schema than the database's.

    Raises:
        InvalidInput: saying what to do.
    """
    with runtime.database.read() as connection:
        here = schema.revision(connection)
    if manifest.schema != here:
        raise InvalidInput(
            f"The backup is of schema {manifest.schema}, and the database is at {here}. Restore it with ChatAPI"
            f" {manifest.chatapi}, which made it, and then upgrade: chatapi db upgrade"
        )
    columns = {name: tuple(column.name for column in table.columns) for name, table in storage.TABLES.items()}
    if {table.name: table.columns for table in manifest.tables} != columns:
        raise InvalidInput(
            f"The backup does not have the tables and columns of this version. Restore it with ChatAPI"
            f" {manifest.chatapi}, which made it."
        )


def _verify(archive: zipfile.ZipFile, manifest: Manifest, progress: Progress) -> set[Month]:
    """Read everything once. Returns the months that its calls are of.

    Raises:
        InvalidInput: it is not what the manifest says.
    """
    days, done = set[int](), 0
    for table in manifest.tables:
        place = table.columns.index("id") if table.name == "calls" else None
        for row in _rows(archive, table):
            done += 1
            if place is not None:
                days.add(_day_of(row[place]))
            if done % ROWS_OF_PROGRESS == 0:
                progress(done, 2 * manifest.rows)
    return {Month.of(EPOCH + timedelta(days=min(number, LAST_DAY))) for number in days}


def _day_of(call_id: object) -> int:
    """Since 1970, the day at which an id was made."""
    try:
        return int(str(call_id)[MS_OF_ID].replace("-", ""), 16) // DAY_MS
    except ValueError:
        raise _damaged("a call's id is none") from None


def _rows(archive: zipfile.ZipFile, table: TableContent) -> Iterator[storage.JsonRow]:
    """The rows of a table.

    Raises:
        InvalidInput: at their end, where they are not those that the manifest knows.
    """
    digest, rows = hashlib.sha256(), 0
    with _reading(), archive.open(table.member) as member:  # what fails in whoever takes a row does not come here
        for line in io.BufferedReader(member, BUFFER_BYTES):  # type: ignore[type-var]
            digest.update(line)
            rows += 1
            try:
                row = orjson.loads(line)
            except orjson.JSONDecodeError:
                raise _damaged(f"table {table.name}, line {rows}") from None
            if not isinstance(row, list) or len(row) != len(table.columns):
                raise _damaged(f"table {table.name}, line {rows}")
            yield row
    if rows != table.rows or digest.hexdigest() != table.sha256:
        raise _damaged(f"the checksum of the table {table.name} is wrong")


@dataclass(frozen=True, slots=True)
class _Carried:
    """The secrets that a backup has; never in `repr`."""

    jwt_secret_key: str = field(repr=False)
    encryption_keys: tuple[str, ...] = field(repr=False)


def _carried(archive: zipfile.ZipFile, manifest: Manifest) -> _Carried | None:
    if manifest.secrets_sha256 is None:
        return None
    text = _content(archive, SECRETS)
    if hashlib.sha256(text).hexdigest() != manifest.secrets_sha256:
        raise _damaged("the checksum of the secrets is wrong")
    said = orjson.loads(text)
    return _Carried(said["jwt_secret_key"], tuple(said["encryption_keys"]))


def _to_do(runtime: Runtime, carried: _Carried | None) -> Iterator[str]:
    """What is left to be done by hand. Secrets of the backup are put where none is."""
    settings, folder = runtime.settings, runtime.settings.var_dir
    secret_file = folder / "jwt_secret_key"
    if carried is not None and not settings.jwt_secret_key and not secret_file.exists():
        with suppress(OSError):  # told below
            keep(secret_file, lambda: carried.jwt_secret_key)
    if not (settings.jwt_secret_key or secret_file.exists()) or not installation.is_its_secret(runtime):
        yield (
            "The JWT secret here is not that of the backup. Set CHATAPI_JWT_SECRET_KEY to it, or copy the file"
            f" jwt_secret_key of the old var folder to {secret_file} (mode 0600). If it is lost, run:"
            " chatapi db rotate-secret, which ends every access token."
        )
    yield from _to_do_of_encryption(runtime, carried, folder / "encryption_key")
    yield (
        "If the old var folder is there, copy its folder journal to"
        f" {folder / 'journal'} before you start: it has ends of calls that the database had not taken."
    )


def _to_do_of_encryption(runtime: Runtime, carried: _Carried | None, key_file: Path) -> Iterator[str]:
    is_set = bool(runtime.settings.encryption_keys)
    if carried is not None and not is_set and len(carried.encryption_keys) == 1:
        with suppress(OSError):
            keep(key_file, lambda: carried.encryption_keys[0])
    if (is_set or key_file.exists()) and _opens_secrets(runtime):
        return
    if carried is not None:
        yield f"Set CHATAPI_ENCRYPTION_KEYS to the encryption_keys of {SECRETS} in the backup, separated by commas."
    else:
        yield (
            "There is no encryption key here, or not the backup's. Set CHATAPI_ENCRYPTION_KEYS to those of its"
            f" installation, or copy the file encryption_key of the old var folder to {key_file} (mode 0600). If they"
            " are lost, webhooks need new secrets, and tenants' own upstream keys must be set anew."
        )


def _opens_secrets(runtime: Runtime) -> bool:
    """Whether the encryption keys here open secrets in the database; a few tell."""
    vault = vault_of(runtime.settings.sealing_keys)
    with runtime.database.read() as connection:
        some = [each for shelf in sealed.SHELVES for each in sealed.page(connection, shelf, None, SECRETS_TRIED)]
    try:
        for each in some:
            vault.open(each.place, each.content)
    except SealedElsewhere:
        return False
    return True
