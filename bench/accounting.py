"""What processes cost, from /proc: CPU and memory of whole trees of them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PROC = Path("/proc")


def tree(*roots: int) -> set[int]:
    """The processes with these ids, and all that descend from them."""
    children: dict[int, list[int]] = {}
    for pid, fields in _stats():
        children.setdefault(int(fields[1]), []).append(pid)
    found, left = set[int](), list(roots)
    while left:
        pid = left.pop()
        if pid not in found:
            found.add(pid)
            left += children.get(pid, [])
    return found


def cpu_s(roots: Iterable[int]) -> float:
    """CPU seconds, user and system, that trees of processes have used so far, with their children that have ended."""
    wanted = tree(*roots)
    ticks = sum(sum(map(int, fields[11:15])) for pid, fields in _stats() if pid in wanted)
    return ticks / TICKS_PER_S


def own_bytes(roots: Iterable[int]) -> int:
    """The memory of trees of processes that is no file's; what several share is divided among them (PSS).

    Pages of files are left out: they are shared with whatever else runs on the machine, and are fewer for each process
    the more of those there are.
    """
    total = 0
    for pid in tree(*roots):
        with suppress(OSError):
            lines = (PROC / str(pid) / "smaps_rollup").read_text("ascii").splitlines()
            total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(("Pss_Anon:", "Pss_Shmem:")))
    return total


def _stats() -> Iterator[tuple[int, list[str]]]:
    """Of each process its id and the fields of its `stat` from the third one on (proc(5): state, ppid, …)."""
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            with suppress(OSError):  # it has just ended
                yield int(entry.name), (entry / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()
