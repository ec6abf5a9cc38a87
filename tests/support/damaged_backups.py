"""Backups that are damaged, each in its own way."""

from __future__ import annotations

import json
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


def flip(path: Path) -> None:
    """In the midst of the users: not every byte of an archive says something."""
    with zipfile.ZipFile(path) as archive:
        users = archive.getinfo("tables/users.jsonl")
    content = bytearray(path.read_bytes())
    name, extra = struct.unpack_from("<HH", content, users.header_offset + 26)
    content[users.header_offset + 30 + name + extra + users.compress_size // 2] ^= 0xFF
    path.write_bytes(content)


def written(content: bytes) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        path.write_bytes(content)

    return damage


def rewrite(change: Callable[[str, bytes], bytes | None]) -> Callable[[Path], None]:
    """What makes a whole archive of the changed members; None leaves one out."""

    def damage(path: Path) -> None:
        with zipfile.ZipFile(path) as archive:
            members = {name: change(name, archive.read(name)) for name in archive.namelist()}
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in members.items():
                if content is not None:
                    archive.writestr(name, content)

    return damage


def in_manifest(**values: object) -> Callable[[Path], None]:
    return rewrite(
        lambda name, content: json.dumps(json.loads(content) | values).encode() if name == "manifest.json" else content
    )


def twice_the_first_user(name: str, content: bytes) -> bytes:
    """A row that no table takes, with a checksum that is right."""
    lines = content.splitlines(keepends=True)
    return content + lines[0] if name == "tables/users.jsonl" else content


def encrypt(path: Path) -> None:
    """Only say so, as the directory of an archive does: without its password it cannot be read."""
    archive = bytearray(path.read_bytes())
    archive[archive.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(archive)


DAMAGES: dict[str, Callable[[Path], None]] = {
    "cut short": cut,
    "a byte is different": flip,
    "empty": written(b""),
    "no archive": written(b"nonsense" * 1000),
    "encrypted": encrypt,
    "no manifest": rewrite(lambda name, content: None if name == "manifest.json" else content),
    "a table is missing": rewrite(lambda name, content: None if name == "tables/calls.jsonl" else content),
    "a row more": rewrite(twice_the_first_user),
    "a figure is different": rewrite(
        lambda name, content: content.replace(b'"many-1"', b'"many-x"', 1) if name == "tables/users.jsonl" else content
    ),
    "of another format": in_manifest(version=2),
    "of something else": in_manifest(format="other"),
    "of another schema": in_manifest(schema="0000"),
    "without a table": in_manifest(tables=[]),
}
