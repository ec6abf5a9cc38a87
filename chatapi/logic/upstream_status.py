"""How upstreams are: each worker writes what it sees beside its lease, when it renews that; anybody can read it all."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import datetime

from chatapi.domain.upstream_status import ModelStatus, merged, read, written
from chatapi.logic.runtime import Runtime
from chatapi.settings.upstreams import Kind
from chatapi.storage import leases
from chatapi.storage.leases import Worker
from chatapi.upstream.upstream import Upstream


@dataclass(frozen=True, slots=True)
class Seen:
    """What one worker sees of a model at an upstream, and when it said so."""

    worker: Worker
    status: ModelStatus


@dataclass(frozen=True, slots=True)
class UpstreamStatus:
    """How one upstream is.

    Args:
        name: as it is configured.
        kind: openai, azure or compatible; None: this process' configuration does not know it, another machine's does.
        weight: its share of calls.
        serves: patterns of the models that it serves.
        models: of each model that was asked for, what the workers see, first all of it together.
    """

    name: str
    kind: Kind | None
    weight: int | None
    serves: tuple[str, ...]
    models: list[tuple[ModelStatus, list[Seen]]]


def written_here(runtime: Runtime) -> str:
    """What this process sees, for its lease."""
    in_flight: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for call in runtime.running.all():
        in_flight[call.held.upstream][call.held.model] += 1
    return written(status for each in runtime.upstreams for status in each.statuses(in_flight[each.name]))


def upstream_statuses(runtime: Runtime) -> tuple[list[UpstreamStatus], datetime]:
    """How every upstream is, by all workers whose lease lives, and the instant of the answer.

    Raises:
        DatabaseUnavailable: the database cannot answer.
    """
    with runtime.database.read() as connection:
        now = runtime.database.now(connection)
        workers = leases.living(connection, now, runtime.settings.lease_s)
    seen: defaultdict[str, defaultdict[str, list[Seen]]] = defaultdict(lambda: defaultdict(list))
    for worker in workers:
        for status in read(worker.upstreams):
            seen[status.upstream][status.model].append(Seen(worker, status))
    configured = {each.name: each for each in runtime.upstreams}
    names = [*configured, *sorted(seen.keys() - configured.keys())]
    return [_status(name, configured.get(name), seen[name]) for name in names], now


def _status(name: str, known: Upstream | None, seen: dict[str, list[Seen]]) -> UpstreamStatus:
    models = [(merged([each.status for each in some]), some) for _, some in sorted(seen.items())]
    if known is None:
        return UpstreamStatus(name, None, None, (), models)
    return UpstreamStatus(name, known.kind, known.weight, known.patterns, models)
