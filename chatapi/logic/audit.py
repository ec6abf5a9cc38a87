"""The audit as a service: what breaks an invariant, said in lines for people."""

from __future__ import annotations

from collections.abc import Iterator

from chatapi.logic.runtime import Runtime
from chatapi.storage import audit
from chatapi.storage.audit import Finding


def run(runtime: Runtime) -> list[Finding]:
    """Check the invariants I1 to I7 on one snapshot of the database. An empty list says that all hold.

    Raises:
        DatabaseUnavailable: the database cannot answer.
    """
    return audit.audit(runtime.ledger, runtime.settings.renew_s)


def lines(findings: list[Finding]) -> Iterator[str]:
    """What was found, one rule after the other, the rows that break it indented below it."""
    for finding in findings:
        yield f"{finding.invariant} is broken {finding.count} times: {finding.rule}"
        for row in finding.rows:
            yield "  " + ", ".join(f"{name} {value}" for name, value in row.items())
        if finding.count > len(finding.rows):
            yield f"  … and {finding.count - len(finding.rows)} more"
