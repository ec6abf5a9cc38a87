"""Decoys: hashes of no password, so that a refused login takes as long whether or not its user exists.

How long a verification takes is no simple function of its parameters (lanes run beside each other), so nothing is made
up for by calculation: every refused login verifies the password once with each set of parameters that hashes in the
database have. One of these verifications is the user's own; the others, and all of them for nobody, are of decoys.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from chatapi.domain.password_hashes import HashCost, random_hash

REFRESHED_AFTER_S = 60.0
SHARE_OF_TIME = 1e-3  # that looking for parameters may take, however many users there are
MOST_KINDS = 8


class Decoys:
    """The parameters that hashes in the database have, each with a decoy. Of very many the dearest are taken.

    Args:
        cost: parameters of new hashes, which have a decoy whatever the database holds.
    """

    def __init__(self, cost: HashCost, clock: Callable[[], float] = time.monotonic) -> None:
        self._cost = cost
        self._clock = clock
        self._hashes = {cost: random_hash(cost)}
        self._refresh_at = clock()

    def refresh(self, look: Callable[[], Iterable[HashCost]]) -> None:
        """Look again which parameters there are, if the last time was long ago: others may have imported hashes."""
        began = self._clock()
        if began < self._refresh_at:
            return
        self._refresh_at = began + REFRESHED_AFTER_S  # so that of logins that come together only one looks
        self._take(look())
        took = self._clock() - began
        self._refresh_at = began + max(REFRESHED_AFTER_S, took / SHARE_OF_TIME)

    def meet(self, cost: HashCost) -> None:
        """Have a decoy of these parameters from now on: a hash of a user has them."""
        if cost not in self._hashes:
            self._take([*self._hashes, cost])

    def has(self, cost: HashCost | None) -> bool:
        """Whether refused logins cost so much anyway."""
        return cost in self._hashes

    def hashes(self, *, but: HashCost | None) -> list[str]:
        """The decoys of all parameters but those that have been verified already."""
        return [decoy for cost, decoy in self._hashes.items() if cost != but]

    def _take(self, costs: Iterable[HashCost]) -> None:
        others = sorted(set(costs) - {self._cost}, key=lambda cost: (cost.work, cost.memory_kib, cost.lanes))
        taken = [self._cost, *others[-(MOST_KINDS - 1) :]]
        self._hashes = {cost: self._hashes.get(cost) or random_hash(cost) for cost in taken}
