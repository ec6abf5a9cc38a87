"""What a relayed request begins with: where it goes, and the headers that it goes with."""

from __future__ import annotations

from dataclasses import dataclass

import httpx2

CALL_ID_HEADER = "X-ChatAPI-Call-Id"


@dataclass(frozen=True, slots=True, eq=False)
class Letterhead:
    """The same for all calls to one upstream (of Azure's, to one deployment).

    Args:
        url: where to.
        headers: all but the call's id and the body's length.
        key: the upstream's key among them, to be struck out of what it says.
    """

    url: httpx2.URL
    headers: tuple[tuple[bytes, bytes], ...]
    key: str

    def lines(self, target_prefix: bytes) -> bytes:
        """The request line and the headers, up to where the call's id goes; `target_prefix` is for a proxy."""
        first = b"POST %b%b HTTP/1.1\r\n" % (target_prefix, self.url.raw_path)
        rest = b"".join(b"%b: %b\r\n" % header for header in self.headers)
        return first + rest + CALL_ID_HEADER.encode("ascii") + b": "

    def request(self, call_id: str, body: bytes, timeout: httpx2.Timeout) -> httpx2.Request:
        """The whole request, for httpx2."""
        headers = [*self.headers, (CALL_ID_HEADER.encode("ascii"), call_id.encode("ascii"))]
        return httpx2.Request(
            "POST", self.url, headers=headers, content=body, extensions={"timeout": timeout.as_dict()}
        )
