"""What a relayed request begins with: where it goes, and the headers that it goes with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import httpx2

from chatapi.upstream.parcel import Pieces

CALL_ID_HEADER = "X-ChatAPI-Call-Id"


@dataclass(frozen=True, slots=True, eq=False)
class Letterhead:
    """The same for all calls to one upstream (of Azure's, to one deployment).

    Args:
        url: where to.
        headers: all but the call's id, the body's length and, of a form, its media type.
        key: the key among them, to be struck out of what the upstream says. Neither is in `repr`.
    """

    url: httpx2.URL
    headers: tuple[tuple[bytes, bytes], ...] = field(repr=False)
    key: str = field(repr=False)

    def lines(self, target_prefix: bytes) -> bytes:
        """The request line and the headers, up to where the call's id goes; `target_prefix` is for a proxy."""
        first = b"POST %b%b HTTP/1.1\r\n" % (target_prefix, self.url.raw_path)
        rest = b"".join(b"%b: %b\r\n" % header for header in self.headers)
        return first + rest + CALL_ID_HEADER.encode("ascii") + b": "

    def request(self, call_id: str, body: bytes | Pieces, timeout: httpx2.Timeout) -> httpx2.Request:
        """The whole request, for httpx2."""
        headers = [*self.headers, (CALL_ID_HEADER.encode("ascii"), call_id.encode("ascii"))]
        content: bytes | Iterator[bytes]
        if isinstance(body, bytes):
            content = body
        else:
            headers += [(b"Content-Type", body.content_type.encode()), (b"Content-Length", b"%d" % body.length)]
            content = body.read()
        return httpx2.Request(
            "POST", self.url, headers=headers, content=content, extensions={"timeout": timeout.as_dict()}
        )
