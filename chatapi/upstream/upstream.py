"""One upstream, and the ways to call it: with the openai client (`complete`, or `open` for a stream), or relaying the
bytes of a request (`relay`, `relay_stream`).

Importing this module is cheap: openai and httpx2 are imported when the first call, or `warm_up()`, needs them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from chatapi.domain.routing import Breakers
from chatapi.domain.upstream_status import ModelStatus
from chatapi.errors import UpstreamBusy, UpstreamError, UpstreamRateLimited, UpstreamRefused
from chatapi.settings.upstreams import Upstream as Described
from chatapi.upstream.byte_stream import RelayedStream
from chatapi.upstream.cutoff import Cutoff
from chatapi.upstream.health import Health
from chatapi.upstream.own_keys import OwnKey
from chatapi.upstream.parcel import Parcel
from chatapi.upstream.reply import UpstreamReply
from chatapi.upstream.targets import Target

if TYPE_CHECKING:
    from chatapi.upstream.listing import ListedModel
    from chatapi.upstream.wire import Wire


OnCancel = Callable[[Callable[[], None]], None]
SHORTEST_REST_S = 1
NOT_OURS_TO_ASK = {401, 403}
LONGEST_REST_S = 60  # so long an upstream that is rate limited is believed; then one asks again


def is_fault_of_the_request(error: UpstreamError) -> bool:
    """Whether any upstream would refuse the same. That it refuses this gateway's key is its own affair."""
    return isinstance(error, UpstreamRefused) and not is_refusal_of_the_key(error)


def is_refusal_of_the_key(error: UpstreamError) -> bool:
    """Whether it is the key that was refused, and not what was asked."""
    return isinstance(error, UpstreamRefused) and error.status in NOT_OURS_TO_ASK


class Upstream:
    """One configured upstream. Its client is made on first use, by one thread, and shared by all.

    A call may go out with a tenant's own key (`own`) instead of the installation's: on the same connections, and on the
    tenant's account. What becomes of it is not counted for the others.

    Args:
        described: what it is called, what it serves, and its weight.
        target: where it is and how it is reached.
        breakers: leave it alone when it fails; None: every call finds out by itself.
    """

    def __init__(self, described: Described, target: Target, breakers: Breakers | None = None) -> None:
        self.name = described.name
        self.kind = described.kind
        self.weight = described.weight
        self.prices_of = described.prices_of
        self.serves = described.serves
        self.patterns = described.models
        self.name_of = described.name_of
        self._breakers = breakers
        self._health = Health()
        self._target = target
        self._wire: Wire | None = None
        self._lock = threading.Lock()

    def rests_s(self, model: str, own: OwnKey | None = None) -> float:
        """How many seconds it is left alone with this model from now on; 0 when it may be called."""
        return self._breakers.of(model, own).opens_after_s if self._breakers is not None else 0.0

    def take(self, model: str, own: OwnKey | None = None) -> bool:
        """Whether a call may be sent now; one that was sent must be told of: `answered` or `failed`."""
        return self._breakers is None or self._breakers.of(model, own).take()

    def answered(self, model: str, own: OwnKey | None = None) -> None:
        """It has answered a call, or begun to."""
        if self._breakers is not None:
            self._breakers.of(model, own).succeeded()
        if own is None:
            self._health.of(model)

    def failed(self, model: str, error: UpstreamError, own: OwnKey | None = None) -> None:
        """A call to it has failed like this, before its answer began."""
        if own is None and not is_fault_of_the_request(error):
            self._health.of(model).fail(error)
        if self._breakers is None or isinstance(error, UpstreamBusy):
            return
        breaker = self._breakers.of(model, own)
        if isinstance(error, UpstreamRateLimited):
            breaker.rest(min(error.retry_after_s or SHORTEST_REST_S, LONGEST_REST_S))
        elif is_fault_of_the_request(error):
            breaker.succeeded()
        else:
            breaker.failed()

    def statuses(self, in_flight: Mapping[str, int]) -> list[ModelStatus]:
        """How each model fares that was asked for here; `in_flight` says of how many calls no end is known yet."""
        breaker_of = None if self._breakers is None else self._breakers.of
        return list(self._health.statuses(self.name, in_flight, breaker_of))

    def complete(
        self,
        body: Mapping[str, object],
        *,
        call_id: str,
        on_cancel: OnCancel | None = None,
        own: OwnKey | None = None,
    ) -> UpstreamReply:
        """Make a plain chat completion with the openai client; `body` goes out without `stream` and `stream_options`.

        Args:
            body: the request, of which only `model` and `messages` are certain.
            call_id: goes along as a header.
            on_cancel: is given, before anything is sent, a function that cuts the call off from any thread or greenlet;
                what blocks then ends at once with an error.
            own: the key to send it with; None: the installation's.

        Raises:
            UpstreamError: saying what went wrong and whether the model may have run.
        """
        return self._connected().complete(body, call_id, _cutoff(on_cancel), own)

    def open(
        self,
        body: Mapping[str, object],
        *,
        call_id: str,
        on_cancel: OnCancel | None = None,
        own: OwnKey | None = None,
    ) -> RelayedStream:
        """Open a stream with the openai client; `body` goes out with `stream`. Returns once the status is known.

        Args: as above.

        Raises:
            UpstreamError: as above.
        """
        return self._connected().open(body, call_id, _cutoff(on_cancel), own)

    def relay(
        self, parcel: Parcel, *, call_id: str, on_cancel: OnCancel | None = None, own: OwnKey | None = None
    ) -> UpstreamReply:
        """Send a request whose reply is whole; its bytes go out as they are.

        Args and raises: as above.
        """
        return self._connected().relay(parcel, call_id, _cutoff(on_cancel), own)

    def relay_stream(
        self, parcel: Parcel, *, call_id: str, on_cancel: OnCancel | None = None, own: OwnKey | None = None
    ) -> RelayedStream:
        """Send a request whose reply comes piece by piece; its bytes go out as they are. Returns once the status is
        known.

        Args and raises: as above.
        """
        return self._connected().relay_stream(parcel, call_id, _cutoff(on_cancel), own)

    def models(self) -> list[ListedModel]:
        """What it lists as its models, by its own names.

        Raises:
            UpstreamError: it cannot be asked now.
        """
        return self._connected().models()

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


def _cutoff(on_cancel: OnCancel | None) -> Cutoff:
    cutoff = Cutoff()
    if on_cancel is not None:
        on_cancel(cutoff.cancel)
    return cutoff
