"""The lines of a journal: one owed item each, with a checksum, the format's version and the installation's id.

    <CRC-32 of the rest, 8 hexadecimal digits> <JSON: version, installation, kind, item>

A line stands for itself, so one that is damaged costs no other.
"""

from __future__ import annotations

import types
import typing
import zlib
from collections.abc import Sequence
from dataclasses import is_dataclass
from datetime import datetime
from enum import StrEnum
from functools import cache
from typing import Any

import orjson

from chatapi.domain.calls import Abandonment, Settlement

VERSION = 3
"""Of the item's fields. Whatever changes them (a test notices) makes a new version, and says how to read the old: what
a field was that an older version did not have, says its default."""
KINDS: dict[str, type[Settlement] | type[Abandonment]] = {"settlement": Settlement, "abandonment": Abandonment}

Item = Settlement | Abandonment


class Damaged(ValueError):
    """The line is not what was written: its checksum is wrong."""


class Strange(ValueError):
    """The line is whole, but another version of ChatAPI or another installation wrote it."""


def encode(items: Sequence[Item], installation_id: str) -> bytes:
    """The lines of these items.

    Raises:
        TypeError: an item holds a value that JSON cannot, such as an integer of more than 64 bits.
    """
    return b"".join(_line(item, installation_id) for item in items)


def decode(line: bytes, installation_id: str) -> Item:
    """The item of one line, without its newline.

    Raises:
        Damaged: its checksum is wrong.
        Strange: it is whole, and not for this version or this installation to replay.
    """
    checksum, _, payload = line.partition(b" ")
    if checksum != _checksum(payload):
        raise Damaged("its checksum is wrong")
    try:
        record = orjson.loads(payload)
        if record["installation"] != installation_id:
            raise Strange(f"it belongs to the installation {record['installation']}")
        if record["version"] not in range(1, VERSION + 1):
            raise Strange(f"it has version {record['version']}, and this ChatAPI reads 1 to {VERSION}")
        item: Item = _read(record["item"], KINDS[record["kind"]])
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, Strange):
            raise
        raise Strange(f"it cannot be read ({type(error).__qualname__})") from error
    return item


def _line(item: Item, installation_id: str) -> bytes:
    kind = next(name for name, made in KINDS.items() if isinstance(item, made))
    record = {"version": VERSION, "installation": installation_id, "kind": kind, "item": item}
    payload = orjson.dumps(record, default=_named_fields)
    return b"%b %b\n" % (_checksum(payload), payload)


def _named_fields(value: Any) -> dict[str, Any]:
    """A named tuple as JSON has it; of dataclasses orjson does the same by itself."""
    if not isinstance(value, tuple) or not hasattr(value, "_asdict"):
        raise TypeError(f"no JSON for {type(value).__qualname__}")
    named: dict[str, Any] = value._asdict()
    return named


def _checksum(payload: bytes) -> bytes:
    return b"%08x" % zlib.crc32(payload)


def _read(value: Any, made: Any) -> Any:
    """Make a value of the type `made` of what JSON had; `TypeError` or `ValueError` where that is not possible."""
    if isinstance(made, types.UnionType):  # only `… | None` occurs
        return None if value is None else _read(value, next(one for one in made.__args__ if one is not types.NoneType))
    if is_dataclass(made) or hasattr(made, "_asdict"):
        fields = _fields(made)
        if not value.keys() <= fields.keys():
            raise TypeError("other fields")
        return made(**{name: _read(value[name], kind) for name, kind in fields.items() if name in value})
    if made is datetime:
        return datetime.fromisoformat(value)
    if isinstance(made, type) and issubclass(made, StrEnum):
        return made(value)
    if made is float and type(value) is int:
        return float(value)
    if type(value) is not made:
        raise TypeError(f"no {made}")
    return value


@cache
def _fields(made: Any) -> dict[str, Any]:
    return typing.get_type_hints(made)
