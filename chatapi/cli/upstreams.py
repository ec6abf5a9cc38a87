"""`chatapi upstreams`: how upstreams are, as all workers of the installation see them."""

from __future__ import annotations

from dataclasses import asdict

import click

from chatapi.cli.context import with_runtime
from chatapi.cli.output import EXIT_CODES, show
from chatapi.domain.upstream_status import ModelStatus
from chatapi.logic import upstream_status as logic
from chatapi.logic.explain import utc
from chatapi.logic.runtime import Runtime

COLUMNS = ("upstream", "model", "breaker", "workers", "failures", "recent_failures", "in_flight", "last_error", "at")


@click.command(epilog=EXIT_CODES)
@click.option("--json", "as_json", is_flag=True, help="A JSON list of upstreams, with what each worker sees.")
@with_runtime
def upstreams(runtime: Runtime, as_json: bool) -> None:
    """Show how upstreams are: breakers, failures of the last five minutes, calls in flight, and the last error.

    A worker says what it sees whenever it renews its lease, every few seconds; here all of it stands together.
    """
    found, _ = logic.upstream_statuses(runtime)
    if as_json:
        show([_record(each) for each in found], (), as_json=True)
        return
    rows = [row for each in found for row in _rows(each)]
    show(rows, COLUMNS, as_json=False)


def _rows(upstream: logic.UpstreamStatus) -> list[dict[str, object]]:
    if not upstream.models:
        return [dict.fromkeys(COLUMNS) | {"upstream": upstream.name, "breaker": "not called yet"}]
    return [
        {
            "upstream": upstream.name,
            "model": together.model,
            "breaker": _breaker(together),
            "workers": len(seen),
            "failures": together.failures,
            "recent_failures": together.recent_failures,
            "in_flight": together.in_flight,
            "last_error": together.last_error,
            "at": together.failed_at and together.failed_at.isoformat(timespec="seconds"),
        }
        for together, seen in upstream.models
    ]


def _breaker(status: ModelStatus) -> str:
    return f"{status.breaker} for {status.rests_s:g} s" if status.rests_s else status.breaker


def _record(upstream: logic.UpstreamStatus) -> dict[str, object]:
    return {
        "name": upstream.name,
        "kind": upstream.kind,
        "weight": upstream.weight,
        "serves": list(upstream.serves),
        "models": [
            asdict(together) | {"workers": [_seen(each) for each in seen]} for together, seen in upstream.models
        ],
    }


def _seen(seen: logic.Seen) -> dict[str, object]:
    worker = seen.worker
    told = {"worker": worker.id, "host": worker.host, "pid": worker.pid, "renewed_at": utc(worker.renewed_at)}
    return told | asdict(seen.status)
