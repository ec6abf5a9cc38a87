"""The parts that logic works with. `app.create_app` fills them in; tests pass their own."""

from __future__ import annotations

from dataclasses import dataclass

from chatapi.domain.price_book import PriceBook
from chatapi.logic.own_keys import KeyRing
from chatapi.logic.passwords import Hasher
from chatapi.logic.repeats import Repeats
from chatapi.logic.running import RunningCalls
from chatapi.logic.turns import Turns
from chatapi.settings import Settings
from chatapi.storage.engine import Database
from chatapi.storage.ledger import Ledger
from chatapi.storage.writer import LedgerWriter
from chatapi.upstream.upstreams import Upstreams


@dataclass(frozen=True)
class Runtime:
    """One process of an installation: what it is configured to be, and what it works with."""

    settings: Settings
    database: Database
    ledger: Ledger
    writer: LedgerWriter
    upstreams: Upstreams
    prices: PriceBook
    keys: KeyRing
    hasher: Hasher
    turns: Turns
    repeats: Repeats
    running: RunningCalls
