"""The parts that logic works with, made from the settings: for the service and for commands alike."""

from __future__ import annotations

from chatapi.domain.effective_limits import Defaults
from chatapi.domain.limits import Metric
from chatapi.domain.price_book import PriceBook
from chatapi.domain.windows import Window
from chatapi.logic.own_keys import KeyRing
from chatapi.logic.passwords import Hasher
from chatapi.logic.repeats import Repeats
from chatapi.logic.running import RunningCalls
from chatapi.logic.runtime import Runtime
from chatapi.logic.turns import Turns
from chatapi.settings import Settings, load_catalogue
from chatapi.storage.engine import Clock, Database
from chatapi.storage.ledger import Ledger, new_id
from chatapi.storage.writer import LedgerWriter
from chatapi.upstream.upstreams import Upstreams, build_upstreams


def build_runtime(settings: Settings, *, clock: Clock | None = None) -> Runtime:
    """The parts of one process. Nothing is connected yet.

    Args:
        settings: of the installation.
        clock: stands in for the database's clock, in tests.

    Raises:
        ConfigurationError: a setting is not as it must be.
    """
    database = Database(settings, clock)
    upstreams = build_upstreams(settings, load_catalogue(settings)) if settings.has_upstream else Upstreams()
    ledger = Ledger(database, _default_limits(settings), settings.lease_s)
    return Runtime(
        settings=settings,
        database=database,
        ledger=ledger,
        writer=LedgerWriter(database, ledger),
        upstreams=upstreams,
        prices=PriceBook.of(upstreams.models),
        keys=KeyRing(settings),
        hasher=Hasher(settings.hashes_at_once),
        turns=Turns(settings.wait_s, settings.wait_calls),
        repeats=Repeats(settings.wait_calls),
        running=RunningCalls(new_id()),
    )


def _default_limits(settings: Settings) -> Defaults:
    """The limits of every user that has none of its own."""
    daily = {Metric.REQUESTS: settings.daily_requests, Metric.TOKENS: settings.daily_tokens}
    return {(metric, Window.DAY): value for metric, value in daily.items() if value is not None}
