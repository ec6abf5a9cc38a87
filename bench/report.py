"""From measurements to one table: medians over the rounds, and ratios and differences within each round."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable
from typing import Any

Result = dict[str, Any]
HEADINGS = (
    "workload", "target", "calls/s", "CPU ms", "× Flask", "DB CPU ms", "+p50 ms", "+p99 ms", "events/s", "µs/event",
    "KB idle", "broken",
)  # fmt: skip
GOAL_RELAY, GOAL_QUESTION, GOAL_EVENT_US, GOAL_STREAM_MS, GOAL_EVENTS_PER_S, GOAL_IDLE_KB = 4.5, 9, 50, 3.5, 15_000, 40
COMMITS, GRACE_MS = 2, 2.0
OURS = ("sqlite", "postgresql")


def rows(results: list[Result], idle_kb: dict[str, float | None], order: list[str]) -> list[Result]:
    """One row for each workload of each target, the workloads in this order."""
    keys = dict.fromkeys((result["workload"], result["target"]) for result in results)
    found = [_row(results, workload, target) for workload, target in sorted(keys, key=lambda key: order.index(key[0]))]
    for row in found:
        if row["workload"].startswith("streams") and row["target"] in idle_kb:
            row["idle_kb"] = idle_kb[row["target"]]
    return found


def _row(results: list[Result], workload: str, target: str) -> Result:
    mine = [result for result in results if (result["workload"], result["target"]) == (workload, target)]
    calls = sum(result["good"] for result in mine)
    row: Result = {"workload": workload, "target": target, "good": calls}
    row["broken"] = sum(sum(result["broken"].values()) for result in mine)
    row["calls_per_s"] = _median(result["calls_per_s"] for result in mine)
    row["own_ms"] = _median(_own_ms(result) for result in mine)
    row["database_ms"] = _median(1000 * result["database_cpu_s"] / max(1, result["good"]) for result in mine)
    row["events_per_s"] = _median(result["events_per_s"] for result in mine)
    events = [1e6 * result["own_cpu_s"] / (result["events_per_s"] * result["seconds"] or 1) for result in mine]
    row["event_us"] = _median(events) if mine[0]["kind"] == "stream" else None
    static, direct = f"static, {_in_flight(mine[0])}", _like_direct(mine[0])
    row["times_flask"] = _compared(mine, results, static, "flask", lambda one, other: _own_ms(one) / _own_ms(other))
    for name in ("p50", "p99"):
        row[f"added_{name}"] = None
        if target not in {"direct", "flask"}:
            row[f"added_{name}"] = _compared(mine, results, direct, "direct", _slower_by(name))
    return row


def _own_ms(result: Result) -> float:
    return 1000 * float(result["own_cpu_s"]) / max(1, int(result["good"]))


def _in_flight(result: Result) -> int:
    """Of Flask's reply that it is compared with: there is none for a thousand."""
    return min(64, int(result["in_flight"]))


def _like_direct(result: Result) -> str:
    """The workload of the upstream itself that a latency is compared with."""
    return str(result["workload"]).replace("question", "plain")


def _slower_by(name: str) -> Callable[[Result, Result], float]:
    return lambda one, other: float(one["latency_ms"].get(name, 0)) - float(other["latency_ms"].get(name, 0))


def _compared(
    mine: list[Result], results: list[Result], workload: str, target: str, compare: Callable[[Result, Result], float]
) -> float | None:
    """The median over the rounds of a comparison with another target in the same round."""
    others = {
        result["round"]: result for result in results if (result["workload"], result["target"]) == (workload, target)
    }
    found = [compare(result, others[result["round"]]) for result in mine if result["round"] in others]
    return _median(found) if found else None


def _median(values: Iterable[float]) -> float:
    return round(statistics.median(values), 4)


def goals(found: list[Result], commits_ms: list[Result]) -> list[dict[str, Any]]:
    """The goals that these rows can be held against."""
    checked: list[dict[str, Any]] = []

    def check(what: str, figure: float | None, goal: float, *, at_least: bool = False) -> None:
        if figure is not None:
            met = figure >= goal if at_least else figure <= goal
            checked.append({"what": what, "measured": round(figure, 2), "goal": round(goal, 2), "met": met})

    for row in found:
        target, workload = row["target"], row["workload"]
        if target not in OURS:
            continue
        if workload == "plain, 64" and target == "postgresql":
            check("postgresql: relayed call, CPU as a multiple of Flask's", row["times_flask"], GOAL_RELAY)
        if workload == "question, 64" and target == "postgresql":
            check("postgresql: GET /api, CPU as a multiple of Flask's", row["times_flask"], GOAL_QUESTION)
        if workload in {"plain, 1", "question, 1"}:
            commit_ms = statistics.median(seen[target]["p50"] for seen in commits_ms)
            what = f"{target}: {workload} in flight, added p50 in ms (two commits + 2 ms)"
            check(what, row["added_p50"], COMMITS * commit_ms + GRACE_MS)
        if workload == "streams, 64":
            check(f"{target}: a stream of 50 events, CPU ms", row["own_ms"], GOAL_STREAM_MS)
        if workload == "streams, 1000":
            check(f"{target}: an event of 1,000 streams, CPU µs", row["event_us"], GOAL_EVENT_US)
            check(f"{target}: 1,000 streams, events/s", row["events_per_s"], GOAL_EVENTS_PER_S, at_least=True)
            check(f"{target}: 1,000 streams, broken", row["broken"], 0)
            check(f"{target}: an idle stream, KB", row.get("idle_kb"), GOAL_IDLE_KB)
    return checked


def table(found: list[Result], commits_ms: list[Result], notes: dict[str, str], goals: list[dict[str, Any]]) -> str:
    """All of it as text; the table is one of Markdown."""
    cells = [HEADINGS, *(_cells(row) for row in found)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(HEADINGS))]
    lines = [""]
    for number, row in enumerate(cells):
        texts = [cell.ljust(width) for cell, width in zip(row[:2], widths[:2], strict=True)]
        figures = [cell.rjust(width) for cell, width in zip(row[2:], widths[2:], strict=True)]
        lines.append(f"| {' | '.join(texts + figures)} |")
        if number == 0:
            rules = ["-" * width for width in widths[:2]] + [f"{'-' * (width - 1)}:" for width in widths[2:]]
            lines.append(f"| {' | '.join(rules)} |")
    lines.append("")
    for database in OURS:
        if seen := [commit[database] for commit in commits_ms if database in commit]:
            p50, p99 = (statistics.median(commit[name] for commit in seen) for name in ("p50", "p99"))
            lines.append(f"A commit on {database}: p50 {p50:.2f} ms, p99 {p99:.2f} ms")
    lines += [f"{name}: {note}" for name, note in notes.items()]
    lines += ["", *(goal_line(goal) for goal in goals)]
    return "\n".join(lines)


def goal_line(goal: dict[str, Any]) -> str:
    """A goal, and what was measured."""
    return f"{'met   ' if goal['met'] else 'MISSED'} {goal['what']}: {goal['measured']} (goal {goal['goal']})"


def _cells(row: Result) -> tuple[str, ...]:
    def number(name: str, digits: int) -> str:
        value = row.get(name)
        return "" if value is None or (value == 0 and name != "broken") else f"{value:,.{digits}f}"

    return (
        row["workload"],
        row["target"],
        number("calls_per_s", 0),
        number("own_ms", 3),
        number("times_flask", 2),
        number("database_ms", 3),
        number("added_p50", 2),
        number("added_p99", 2),
        number("events_per_s", 0),
        number("event_us", 1),
        number("idle_kb", 1),
        number("broken", 0),
    )
