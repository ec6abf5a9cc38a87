"""What carries requests to an upstream: one pool of connections, with a way in for the openai client and one for
relayed calls."""

from __future__ import annotations

import sys
from abc import abstractmethod

import httpx2

from chatapi.upstream.answer import Answer
from chatapi.upstream.cutoff import Cutoff
from chatapi.upstream.letterhead import Letterhead
from chatapi.upstream.parcel import Pieces


class Transport(httpx2.BaseTransport):
    """A transport for httpx2 that also relays."""

    @abstractmethod
    def relay(self, letterhead: Letterhead, call_id: str, body: bytes | Pieces, cutoff: Cutoff) -> Answer:
        """Send a body; return when the status and headers of its answer have come.

        Raises:
            httpx2.TransportError: saying whether anything was sent: `ConnectError` and the like if not.
        """


def runs_gevent() -> bool:
    """Whether gevent has put itself into this process' sockets."""
    if "gevent.monkey" not in sys.modules:
        return False
    from gevent import monkey

    return bool(monkey.is_module_patched("socket"))
