"""Tenants' own keys in the call path: what this process knows of them, and the keys themselves, opened.

A call is planned with what was known at the last admission of its tenant; the admission reads the keys as they are, in
its transaction, and where they differ the call is planned again (`Outdated`). So a key that was set, changed or removed
holds from the next admission on, and tenants without keys pay for none of this.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import structlog

from chatapi.domain.calls import OwnKeys
from chatapi.errors import Unavailable
from chatapi.settings import Settings
from chatapi.storage.engine import Database
from chatapi.storage.upstream_keys import sealed_of
from chatapi.upstream.own_keys import OwnKey
from chatapi.upstream.upstreams import NO_OWN_KEYS

MOST_TENANTS = 4096
RETRY_AFTER_S = 60  # somebody has to mend it first

log = structlog.get_logger()


def place_of(tenant_id: str, upstream: str) -> str:
    """Where a key belongs: sealed for here, it opens nowhere else."""
    return f"upstream_keys/{tenant_id}/{upstream}"


class KeyRing:
    """The own keys of tenants, as one process knows them."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._known: dict[str, OwnKeys] = {}
        self._opened = lru_cache(MOST_TENANTS)(self._open)

    def known(self, tenant_id: str) -> OwnKeys:
        """The tenant's sealed keys, as its last admission here found them."""
        return self._known.get(tenant_id, ())

    def learn(self, tenant_id: str, keys: OwnKeys) -> None:
        """An admission has found these."""
        if not keys:
            self._known.pop(tenant_id, None)
            return
        if len(self._known) >= MOST_TENANTS:
            self._known.clear()
        self._known[tenant_id] = keys

    def read(self, database: Database, tenant_id: str) -> OwnKeys:
        """The tenant's sealed keys as they are, where no admission says it: what cannot be planned is not admitted.

        Raises:
            DatabaseUnavailable: the database cannot answer.
        """
        with database.read() as connection:
            keys = sealed_of(connection, tenant_id)
        self.learn(tenant_id, keys)
        return keys

    def opened(self, tenant_id: str, keys: OwnKeys) -> Mapping[str, OwnKey]:
        """The keys by upstream.

        Raises:
            Unavailable: one cannot be opened. Such a tenant's calls are refused: nobody else is to pay for them.
        """
        return self._opened(tenant_id, keys) if keys else NO_OWN_KEYS

    def _open(self, tenant_id: str, keys: OwnKeys) -> Mapping[str, OwnKey]:
        from chatapi.logic.sealing import SealedElsewhere, vault_of  # imports cryptography, which few need

        vault = vault_of(self._settings.sealing_keys)
        opened = {}
        for upstream, sealed in keys:
            try:
                key = vault.open(place_of(tenant_id, upstream), sealed.encode())
            except SealedElsewhere:
                log.error("upstream_key_not_opened", tenant=tenant_id, upstream=upstream)
                raise Unavailable(
                    f"Your tenant's own key for {upstream!r} cannot be decrypted here. Please tell the operator.",
                    retry_after_s=RETRY_AFTER_S,
                ) from None
            opened[upstream] = OwnKey(sealed, key)
        return opened
