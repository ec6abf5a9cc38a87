"""The HTTP client below the openai client: httpx2's, which builds plain requests with less ado.

The openai client says the whole address and nearly all headers itself. Merging them with those of httpx2's client,
which has no address, parameters or cookies, was a seventh of what a call took there.
"""

from __future__ import annotations

import functools
from typing import Any

import httpx2

MOST_URLS = 256
PLAIN = {"content", "headers", "timeout"}
COMPUTED = frozenset({"host", "content-length", "transfer-encoding"})


class HttpClient(httpx2.Client):
    """httpx2's client, with no address, parameters or cookies of its own; arguments are those of that class."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._lasting = tuple(self.headers.items())
        self._url = functools.lru_cache(MOST_URLS)(httpx2.URL)

    def build_request(self, method: str, url: httpx2.URL | str, **options: Any) -> httpx2.Request:
        """A request as httpx2 builds it, which is asked for all but bytes with headers for an address."""
        if all(value is None for name, value in options.items() if name not in PLAIN):
            request = self._plain(method, str(url), *(options.get(name) for name in ("content", "headers", "timeout")))
            if request is not None:
                return request
        return super().build_request(method, url, **options)

    def _plain(self, method: str, url: str, content: object, headers: object, timeout: object) -> httpx2.Request | None:
        if not (isinstance(content, bytes) and isinstance(headers, list) and isinstance(timeout, httpx2.Timeout)):
            return None
        given = {name.lower() for name, _ in headers}
        if not given.isdisjoint(COMPUTED):
            return None
        where = self._url(url)
        lines = [("Host", where.netloc), *(each for each in self._lasting if each[0] not in given), *headers]
        lines.append(("Content-Length", str(len(content))))
        extensions = {"timeout": timeout.as_dict()}
        return httpx2.Request(method, where, headers=lines, stream=httpx2.ByteStream(content), extensions=extensions)
