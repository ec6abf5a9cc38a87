"""Reconciling: whether a provider's own export says the same as the ledger, day by day and model by model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import IO

from chatapi.domain import azure_export
from chatapi.domain.export_files import read_file
from chatapi.domain.money import in_dollars
from chatapi.domain.provider_usage import Export
from chatapi.domain.reconcile import Comparison, Ours, Row, Terms, compare
from chatapi.errors import InvalidInput, NotFound
from chatapi.logic.explain import utc
from chatapi.logic.runtime import Runtime
from chatapi.storage import reconcile as storage
from chatapi.storage.reconcile import Span


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is reconciled.

    Args:
        upstream: by name; None: the only one that there is.
        tenants: only these, by name; none: all of them.
        without: all but these.
        names: the ledger's name of a model by the provider's.
        tolerance: by how much two figures may differ, as a share of the larger.
    """

    upstream: str | None = None
    tenants: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    names: Mapping[str, str] = field(default_factory=dict)
    tolerance: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True)
class Reconciled:
    """The outcome: the comparison, and what to know of it, in sentences."""

    upstream: str
    export: Export
    comparison: Comparison
    remarks: tuple[str, ...]

    @property
    def agrees(self) -> bool:
        """Whether all could be compared, and nothing differs."""
        return not self.comparison.differing and not self.comparison.uncertain


def read_export(files: Iterable[tuple[str, IO[bytes]]]) -> Export:
    """Read the files of one export, each once and a row at a time.

    Raises:
        InvalidInput: with every problem of every file and its line; or the files say nothing.
    """
    export = Export()
    for name, stream in files:
        read_file(export, name, stream)
    export.check()
    return export


def reconcile(runtime: Runtime, export: Export, wanted: Wanted) -> Reconciled:
    """Compare the ledger with an export.

    Raises:
        InvalidInput: which upstream is not clear; NotFound: there is no such tenant.
        DatabaseUnavailable: the database cannot answer.
    """
    database, upstream = runtime.database, _upstream(runtime, wanted)
    assert export.begin is not None and export.end is not None
    span = Span(upstream, export.begin, export.end)
    since, ours = storage.kept_since(database), dict[tuple[str, str], Ours]()
    tenants = _tenants(storage.tenants_to_read(database), wanted)
    for tenant_id in tenants:
        for sent in storage.sent_by(database, tenant_id, span):
            place = (sent.day, sent.model if export.kind == azure_export.KIND else sent.sent_model)
            ours[place] = ours.get(place, Ours()).plus(sent.figures)
    since = max(since, storage.kept_since(database))  # retention may have run meanwhile
    terms = Terms(wanted.tolerance, {theirs.lower(): own for theirs, own in wanted.names.items()}, since)
    comparison = compare(export, ours, terms)
    own_keys = storage.with_own_key(database, upstream) & tenants.keys()
    return Reconciled(
        upstream,
        export,
        comparison,
        (*_remarks(export, comparison, terms), *_keys_remark({tenants[each] for each in own_keys}, wanted)),
    )


def as_record(done: Reconciled) -> dict[str, object]:
    """The outcome for programs."""
    export, comparison = done.export, done.comparison
    assert export.begin is not None and export.end is not None
    return {
        "object": "reconciliation",
        "upstream": done.upstream,
        "provider": export.kind,
        "from": utc(export.begin),
        "to": utc(export.end),
        "agrees": done.agrees,
        "differing_rows": comparison.differing,
        "uncertain_rows": comparison.uncertain,
        "models": {name: {"theirs": pair[0], "ours": pair[1]} for name, pair in comparison.mapping.items()},
        "remarks": done.remarks,
        "rows": [_record(row) for row in comparison.rows],
    }


def differences(comparison: Comparison) -> Iterator[dict[str, object]]:
    """A row for people for each figure that differs."""
    for row in comparison.rows:
        for name, pair in row.figures.items():
            if pair.differs:
                is_money = name == "cost_nanodollars"
                numbers = {"ours": pair.ours, "theirs": pair.theirs, "difference": pair.difference}
                shown = {
                    each: "unknown" if value is None else in_dollars(value) if is_money else value
                    for each, value in numbers.items()
                }
                figure = "cost" if is_money else name.replace("_", " ")
                yield {"day": row.day, "model": row.model, "figure": figure, **shown, "note": _note(row)}


def _record(row: Row) -> dict[str, object]:
    figures = {
        name: {"ours": pair.ours, "theirs": pair.theirs, "difference": pair.difference, "differs": pair.differs}
        for name, pair in row.figures.items()
    }
    return {
        "day": row.day,
        "model": row.model,
        "differs": row.differs,
        "all_calls_kept": row.is_whole,
        **figures,
        "unpriced_calls": row.ours.unpriced,
        "estimated_calls": row.ours.estimated,
        "attempts_at_risk": row.ours.at_risk,
        "attempts_in_flight": row.ours.in_flight,
    }


def _note(row: Row) -> str:
    ours = row.ours
    notes = {
        f"{ours.estimated:,} calls estimated here": ours.estimated,
        f"{ours.at_risk:,} attempts at risk": ours.at_risk,
        f"{ours.in_flight:,} in flight": ours.in_flight,
        f"{ours.unpriced:,} calls unpriced": ours.unpriced,
        "calls were deleted": not row.is_whole,
    }
    return "; ".join(note for note, is_there in notes.items() if is_there)


def _upstream(runtime: Runtime, wanted: Wanted) -> str:
    if wanted.upstream is not None:
        return wanted.upstream
    names = [upstream.name for upstream in runtime.upstreams]
    if len(names) != 1:
        there = f"there are {', '.join(names)}" if names else "none is configured"
        raise InvalidInput(f"Say with --upstream whose export this is: {there}.")
    return names[0]


def _tenants(there: list[tuple[str, str]], wanted: Wanted) -> dict[str, str]:
    known = {name for _, name in there}
    for name in (*wanted.tenants, *wanted.without):
        if name not in known:
            raise NotFound(f"There is no tenant {name!r}.")
    chosen = set(wanted.tenants) or known
    return {tenant_id: name for tenant_id, name in there if name in chosen and name not in wanted.without}


def _remarks(export: Export, comparison: Comparison, terms: Terms) -> Iterator[str]:
    for what, count in export.remarks.items():
        yield f"{count:,} {what}."
    if comparison.uncertain:
        yield (
            f"Calls of local days before {terms.calls_since} have been deleted: {comparison.uncertain:,} rows of days"
            " until then cannot be compared."
        )
    for what, times in (("begins", export.begin), ("ends", export.end)):
        if times is not None and times.time() != times.min.time():
            yield f"The export {what} amid a day, at {utc(times)}: the ledger's part of that day is compared."
    in_flight = sum(row.ours.in_flight for row in comparison.rows)
    if in_flight:
        yield f"{in_flight:,} attempts are in flight and not counted here."
    for name, (theirs, ours) in comparison.mapping.items():
        yield f"Compared together as {name}: {', '.join(theirs)} there, {', '.join(ours)} here."


def _keys_remark(names: set[str], wanted: Wanted) -> Iterator[str]:
    if names and not wanted.tenants:
        yield (
            f"{', '.join(sorted(names))} have keys of their own for this upstream, and their calls are counted here:"
            " leave them out with --without, and reconcile each by itself with --tenant."
        )
