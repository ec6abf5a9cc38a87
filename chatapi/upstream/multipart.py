"""Forms with files, `multipart/form-data` (RFC 7578), sent piece by piece from the disk."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from urllib.parse import quote

import orjson

from chatapi.domain.model_request import Upload

PIECE_BYTES = 64 * 1024


class Multipart:
    """A form. A field whose value is a list becomes one field for each item, as OpenAI's clients send them.

    Args:
        fields: names and values; what is neither text nor list is written as JSON.
        files: which lie on disk.
    """

    def __init__(self, fields: Mapping[str, object], files: Sequence[Upload]) -> None:
        self._boundary = secrets.token_hex(16).encode("ascii")
        self._files = [(self._head_of(file), file) for file in files]
        self._fields = b"".join(self._field(name, value) for name, value in fields.items())
        self._end = b"--%b--\r\n" % self._boundary

    @property
    def content_type(self) -> str:
        """The media type, with the boundary."""
        return f"multipart/form-data; boundary={self._boundary.decode('ascii')}"

    @property
    def length(self) -> int:
        """The length in bytes."""
        files = sum(len(head) + file.size + len(b"\r\n") for head, file in self._files)
        return len(self._fields) + files + len(self._end)

    def read(self) -> Iterator[bytes]:
        """The bytes, from the beginning."""
        yield self._fields
        for head, file in self._files:
            yield head
            file.content.seek(0)
            while piece := file.content.read(PIECE_BYTES):
                yield piece
            yield b"\r\n"
        yield self._end

    def _field(self, name: str, value: object) -> bytes:
        if isinstance(value, list):
            return b"".join(self._field(name, item) for item in value)
        text = value.encode() if isinstance(value, str) else orjson.dumps(value)
        return b'--%b\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n' % (
            self._boundary, _quoted(name), text,
        )  # fmt: skip

    def _head_of(self, file: Upload) -> bytes:
        return b'--%b\r\nContent-Disposition: form-data; name="%b"; filename="%b"\r\nContent-Type: %b\r\n\r\n' % (
            self._boundary, _quoted(file.field), _quoted(file.filename), _plain(file.content_type),
        )  # fmt: skip


def _quoted(name: str) -> bytes:
    """A name, escaped as HTML's forms do (WHATWG HTML, "multipart form data"), and with it what else a reader may
    take for the end of the name or of its line."""
    return "".join(
        char if char.isprintable() and char not in '"\\' else quote(char, errors="replace") for char in name
    ).encode(errors="replace")


def _plain(content_type: str) -> bytes:
    return "".join(char for char in content_type if " " <= char <= "~").encode("ascii") or b"application/octet-stream"
