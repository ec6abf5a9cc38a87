"""The upstreams of an installation, and the ways to call one: with the openai client (`complete`, or `open` for a
stream), or relaying the bytes of a request (`relay`, `relay_stream`).

Importing this module is cheap: openai and httpx2 are imported when the first call, or `warm_up()`, needs them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from chatapi.errors import ConfigurationError
from chatapi.settings import Settings
from chatapi.upstream.byte_stream import RelayedStream
from chatapi.upstream.cutoff import Cutoff
from chatapi.upstream.parcel import Parcel
from chatapi.upstream.reply import UpstreamReply
from chatapi.upstream.targets import Target, build_target

if TYPE_CHECKING:
    from chatapi.upstream.wire import Wire


OnCancel = Callable[[Callable[[], None]], None]


class Upstream:
    """One configured upstream. Its client is made on first use, by one thread, and shared by all."""

    def __init__(self, target: Target, default_model: str) -> None:
        self.name: str = target.kind
        self.kind = target.kind
        self.default_model = default_model
        self._target = target
        self._wire: Wire | None = None
        self._lock = threading.Lock()

    def complete(self, body: Mapping[str, object], *, call_id: str, on_cancel: OnCancel | None = None) -> UpstreamReply:
        """Make a plain chat completion with the openai client; `body` goes out without `stream` and `stream_options`.

        Args:
            body: the request, of which only `model` and `messages` are certain.
            call_id: goes along as a header.
            on_cancel: is given, before anything is sent, a function that cuts the call off from any thread or greenlet;
                what blocks then ends at once with an error.

        Raises:
            UpstreamError: saying what went wrong and whether the model may have run.
        """
        return self._connected().complete(body, call_id, _cutoff(on_cancel))

    def open(self, body: Mapping[str, object], *, call_id: str, on_cancel: OnCancel | None = None) -> RelayedStream:
        """Open a stream with the openai client; `body` goes out with `stream`. Returns once the status is known.

        Args: as above.

        Raises:
            UpstreamError: as above.
        """
        return self._connected().open(body, call_id, _cutoff(on_cancel))

    def relay(self, parcel: Parcel, *, call_id: str, on_cancel: OnCancel | None = None) -> UpstreamReply:
        """Send a request whose reply is whole; its bytes go out as they are.

        Args and raises: as above.
        """
        return self._connected().relay(parcel, call_id, _cutoff(on_cancel))

    def relay_stream(self, parcel: Parcel, *, call_id: str, on_cancel: OnCancel | None = None) -> RelayedStream:
        """Send a request whose reply comes piece by piece; its bytes go out as they are. Returns once the status is
        known.

        Args and raises: as above.
        """
        return self._connected().relay_stream(parcel, call_id, _cutoff(on_cancel))

    def warm_up(self) -> None:
        """Import and make the client now (about a second), so that the first call does not wait for it."""
        self._connected()

    def close(self) -> None:
        """Close the idle connections; the next call opens new ones."""
        with self._lock:
            wire, self._wire = self._wire, None
        if wire is not None:
            wire.close()

    def _connected(self) -> Wire:
        wire = self._wire
        if wire is not None:
            return wire
        with self._lock:
            if self._wire is None:
                from chatapi.upstream.wire import Wire  # importing openai is slow

                self._wire = Wire(self._target)
            return self._wire


class Upstreams:
    """All upstreams of the installation: one now, or none for commands that call no model."""

    def __init__(self, only: Upstream | None = None) -> None:
        self._only = only

    def resolve(self, model: str | None) -> tuple[Upstream, str]:
        """The upstream that answers `model`, and the name it knows the model by; None is the default model.

        Raises:
            ConfigurationError: no upstream is configured.
        """
        if self._only is None:
            raise ConfigurationError("No upstream is configured.")
        return self._only, model or self._only.default_model

    def warm_up(self) -> None:
        """Make every client now; call it once in each worker, after the fork."""
        if self._only is not None:
            self._only.warm_up()

    def close(self) -> None:
        """Close every idle connection."""
        if self._only is not None:
            self._only.close()


def build_upstreams(settings: Settings) -> Upstreams:
    """The upstreams that the settings describe; nothing is connected yet.

    Raises:
        ConfigurationError: none is configured, or one is configured wrongly.
    """
    return Upstreams(Upstream(build_target(settings), settings.model))


def _cutoff(on_cancel: OnCancel | None) -> Cutoff:
    cutoff = Cutoff()
    if on_cancel is not None:
        on_cancel(cutoff.cancel)
    return cutoff
