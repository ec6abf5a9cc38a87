"""What a backup says of itself: its format, whose it is, and what each of its tables has.

The format, version 1: a ZIP archive (APPNOTE 6.3, deflated) of `tables/NAME.jsonl`, one JSON array for each row in the
order of the columns that the manifest names, perhaps `secrets.json`, and `manifest.json`, which comes last. Instants
are RFC 3339, bytes are base64, everything else is as JSON has it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import orjson

FORMAT = "chatapi-backup"
VERSION = 1
MANIFEST = "manifest.json"
SECRETS = "secrets.json"


@dataclass(frozen=True, slots=True)
class TableContent:
    """One table: its columns, how many rows it has, and the SHA-256 of its member, uncompressed, in hex."""

    name: str
    columns: tuple[str, ...]
    rows: int
    sha256: str

    @property
    def member(self) -> str:
        """The name of its member in the archive."""
        return member_of(self.name)


@dataclass(frozen=True, slots=True)
class Manifest:
    """A backup's description of itself.

    Args:
        schema: the revision of the database's schema.
        installation_id: whose it is; None where nothing was ever served.
        made_at: the instant of the snapshot, by the database's clock, RFC 3339.
        database: the kind of database that it was made of.
        chatapi: the version of ChatAPI that made it.
        tables: in an order in which they can be filled.
        secrets_sha256: of the member with the secrets; None where they were left out.
    """

    schema: str
    installation_id: str | None
    made_at: str
    database: str
    chatapi: str
    tables: tuple[TableContent, ...]
    secrets_sha256: str | None = None

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return sum(table.rows for table in self.tables)

    def dump(self) -> bytes:
        """As the archive has it."""
        return orjson.dumps({"format": FORMAT, "version": VERSION, **asdict(self)}, option=orjson.OPT_INDENT_2)


def member_of(table: str) -> str:
    """The name of a table's member in the archive."""
    return f"tables/{table}.jsonl"


def read_manifest(text: bytes) -> Manifest:
    """What `Manifest.dump` wrote.

    Raises:
        ValueError: it is none, or of another format; the message says so.
    """
    try:
        said = orjson.loads(text)
        if said.pop("format") != FORMAT:
            raise ValueError("it is no backup of ChatAPI")
        version = said.pop("version")
        if version != VERSION:
            raise ValueError(f"its format is version {version!r}, and this ChatAPI reads version {VERSION}")
        said["tables"] = tuple(
            TableContent(str(each["name"]), tuple(each["columns"]), int(each["rows"]), str(each["sha256"]))
            for each in said["tables"]
        )
        return Manifest(**said)
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        raise ValueError("its manifest is damaged") from None
