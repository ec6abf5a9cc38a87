"""CHATAPI_DATABASE_URL: understood, and said in one sentence where it cannot be. No sentence repeats it: it may hold a
password."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from chatapi.errors import ConfigurationError

SQLITE = frozenset({"sqlite", "sqlite+pysqlite"})
POSTGRESQL = "postgresql+psycopg"
FILE_BEGINS = b"SQLite format 3\0"


def read_database_url(text: str) -> URL:
    """The URL of a database that can be served; the SQLite file is made if it is not there.

    Raises:
        ConfigurationError: saying what is wrong with it.
    """
    try:
        url = make_url(text)
    except (ArgumentError, ValueError) as error:
        raise ConfigurationError(
            "CHATAPI_DATABASE_URL is no URL such as sqlite:////var/lib/chatapi/chatapi.sqlite3 or"
            " postgresql://USER:PASSWORD@HOST:5432/DATABASE"
        ) from error
    if url.drivername in SQLITE:
        _make_private(_file_of(url))
    elif url.drivername == POSTGRESQL:
        _check_options(url)
    else:
        raise ConfigurationError(
            f"CHATAPI_DATABASE_URL: {url.drivername} is not supported; use sqlite:/// or postgresql://"
        )
    return url


def _file_of(url: URL) -> Path:
    if not url.database or url.database == ":memory:":
        raise ConfigurationError("CHATAPI_DATABASE_URL: SQLite must be a file, so that a restart forgets nothing")
    return Path(url.database)


def _make_private(path: Path) -> None:
    """Make the file, and its folder, for their owner only: password hashes are in it. What is there keeps its mode."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(mode=0o600)
        with path.open("rb") as file:
            begins = file.read(len(FILE_BEGINS))
    except (OSError, ValueError) as error:
        why = (error.strerror if isinstance(error, OSError) else None) or error
        raise ConfigurationError(
            f"The database's file {path} cannot be used: {why} (CHATAPI_DATABASE_URL, or CHATAPI_VAR_DIR, names it)"
        ) from error
    if begins and begins != FILE_BEGINS:
        raise ConfigurationError(f"CHATAPI_DATABASE_URL: {path} is no SQLite database")


def _check_options(url: URL) -> None:
    import psycopg
    from psycopg.conninfo import make_conninfo

    try:
        _, options = url.get_dialect()().create_connect_args(url)
        make_conninfo(**options)
    except (psycopg.Error, ArgumentError, ValueError) as error:
        raise ConfigurationError(
            "CHATAPI_DATABASE_URL: it has a connection option that PostgreSQL does not know"
        ) from error
