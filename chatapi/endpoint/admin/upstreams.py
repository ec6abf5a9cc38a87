"""How upstreams are: what every worker sees of them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from chatapi.domain.actors import Actor
from chatapi.domain.principals import Role
from chatapi.domain.upstream_status import Breaking, ModelStatus
from chatapi.endpoint.context import runtime
from chatapi.endpoint.resources import Resources
from chatapi.endpoint.shapes import Instant, Reply
from chatapi.logic import upstream_status as logic

resources = Resources("admin_upstreams", __name__)


class LastError(Reply):
    """The last failure that was no fault of the request."""

    kind: str = Field(description="In a word: unreachable, timeout, failed 503, rate_limited 429, refused 401, ...")
    at: Instant | None


class ModelHealth(Reply):
    """How a model fares."""

    breaker: Breaking = Field(
        description=(
            "`closed`: it is called. `resting`: left alone until the time that it named. `open`: left alone after "
            "failures. `trying`: one call tries it."
        )
    )
    rests_s: float = Field(description="For so many seconds it is left alone.")
    failures: int = Field(description="Calls in a row that failed.")
    recent_failures: int = Field(description="Of the last five minutes.")
    in_flight: int
    last_error: LastError | None


class SeenHealth(ModelHealth):
    """The same, as one worker sees it."""

    worker: str
    host: str
    pid: int
    renewed_at: Instant = Field(description="When the worker said so.")


class ModelRecord(ModelHealth):
    """The same, as all workers see it: the worst of it, and sums."""

    model: str
    workers: list[SeenHealth]


class UpstreamRecord(Reply):
    """An upstream."""

    name: str
    kind: Literal["openai", "azure", "compatible"] | None = Field(
        description="Null where only another machine's configuration knows it."
    )
    weight: int | None
    serves: list[str] = Field(description="Patterns of the models that it serves.")
    models: list[ModelRecord] = Field(description="Those that were asked for, or are.")


class UpstreamList(Reply):
    """All upstreams."""

    object: Literal["list"] = "list"
    data: list[UpstreamRecord]
    at: Instant


@resources.operation(
    "GET",
    "/admin/upstreams",
    needs=Role.OPERATOR,
    summary="How upstreams are",
    description=(
        "As each worker said when it renewed its lease last, a few seconds ago, and all of it together. Calls with "
        "tenants' own keys count as in flight only: what such an account is refused says nothing of the upstream."
    ),
)
def list_upstreams(actor: Actor) -> UpstreamList:
    """All of them: they are as many as are configured."""
    found, now = logic.upstream_statuses(runtime())
    return UpstreamList(data=[_record(each) for each in found], at=now)


def _record(upstream: logic.UpstreamStatus) -> UpstreamRecord:
    return UpstreamRecord(
        name=upstream.name,
        kind=upstream.kind,
        weight=upstream.weight,
        serves=list(upstream.serves),
        models=[
            ModelRecord(
                model=together.model,
                breaker=together.breaker,
                rests_s=together.rests_s,
                failures=together.failures,
                recent_failures=together.recent_failures,
                in_flight=together.in_flight,
                last_error=_last_error(together),
                workers=[_seen(each) for each in seen],
            )
            for together, seen in upstream.models
        ],
    )


def _seen(seen: logic.Seen) -> SeenHealth:
    worker, status = seen.worker, seen.status
    return SeenHealth(
        worker=worker.id,
        host=worker.host,
        pid=worker.pid,
        renewed_at=worker.renewed_at,
        breaker=status.breaker,
        rests_s=status.rests_s,
        failures=status.failures,
        recent_failures=status.recent_failures,
        in_flight=status.in_flight,
        last_error=_last_error(status),
    )


def _last_error(status: ModelStatus) -> LastError | None:
    return None if status.last_error is None else LastError(kind=status.last_error, at=status.failed_at)
