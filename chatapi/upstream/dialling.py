"""Opening connections to an upstream, directly or through an HTTP proxy, in TLS where its address says so."""

from __future__ import annotations

import socket
import ssl
from base64 import b64encode
from urllib.parse import unquote, urlsplit

import httpx2

from chatapi.upstream.connection import Connection

DEFAULT_PORTS = {"http": 80, "https": 443}
LARGEST_PROXY_REPLY_BYTES = 65_536


class Dialler:
    """Knows the way to one upstream.

    Args:
        base_url: the upstream's address, of which scheme, host and port matter here.
        proxy: the URL of an `http://` proxy on the way, credentials included, or None.
        timeout_s: how long each step may take: connecting, the proxy's answer, the TLS handshake.
    """

    def __init__(self, base_url: str, proxy: str | None, timeout_s: float) -> None:
        url = httpx2.URL(base_url)
        self._host = url.raw_host.decode("ascii")
        self._port = url.port or DEFAULT_PORTS[url.scheme]
        self._timeout_s = timeout_s
        self._context = httpx2.create_ssl_context() if url.scheme == "https" else None
        self._proxy = urlsplit(proxy) if proxy else None
        self.origin = (url.scheme, self._host, self._port)
        literal = f"[{self._host}]" if ":" in self._host else self._host
        self._authority = f"{literal}:{self._port}"
        self.target_prefix = f"http://{self._authority}".encode() if self._proxy and self._context is None else b""
        """What a request's target begins with: a proxy wants to know where to (RFC 9112, 3.2.2)."""
        self.headers = self._proxy_headers() if self.target_prefix else b""
        """Further header lines of every request: a proxy's credentials."""

    def dial(self) -> Connection:
        """Open a connection.

        Raises:
            httpx2.ConnectTimeout, httpx2.ConnectError, httpx2.ProxyError: it cannot be opened; nothing was sent.
        """
        first = (self._host, self._port)
        if self._proxy is not None:
            first = (self._proxy.hostname or "", self._proxy.port or DEFAULT_PORTS["http"])
        sock: socket.socket | None = None
        try:
            sock = socket.create_connection(first, self._timeout_s)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._context is not None:
                if self._proxy is not None:
                    self._tunnel(sock)
                sock = self._context.wrap_socket(sock, server_hostname=self._host)
            return Connection(sock)
        except TimeoutError as error:
            _close(sock)
            raise httpx2.ConnectTimeout(str(error)) from error
        except (OSError, ssl.CertificateError, UnicodeError) as error:
            _close(sock)
            raise httpx2.ConnectError(str(error)) from error
        except BaseException:
            _close(sock)
            raise

    def _tunnel(self, sock: socket.socket) -> None:
        """Have the proxy connect us (RFC 9110, 9.3.6)."""
        lines = f"CONNECT {self._authority} HTTP/1.1\r\nHost: {self._authority}\r\nAccept: */*\r\n".encode()
        sock.sendall(lines + self._proxy_headers() + b"\r\n")
        reply = b""
        while b"\r\n\r\n" not in reply:
            piece = sock.recv(4096)
            reply += piece
            if not piece or len(reply) > LARGEST_PROXY_REPLY_BYTES:
                raise httpx2.ProxyError("the proxy did not answer")
        status = reply.split(b" ", 2)[1:2]
        if not reply.startswith(b"HTTP/1.") or not status or not status[0].startswith(b"2"):
            raise httpx2.ProxyError("the proxy refused")

    def _proxy_headers(self) -> bytes:
        if self._proxy is None or self._proxy.username is None:
            return b""
        credentials = f"{unquote(self._proxy.username)}:{unquote(self._proxy.password or '')}"
        return b"Proxy-Authorization: Basic " + b64encode(credentials.encode()) + b"\r\n"


def _close(sock: socket.socket | None) -> None:
    if sock is not None:
        sock.close()
