"""Where a measurement was made, and where its figures are kept: `var/bench/NAME-TIME.json`."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import shutil
import sqlite3
import subprocess
import time
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent.parent / "var" / "bench"
PACKAGES = ("gunicorn", "gevent", "Flask", "openai", "httpx2", "geventhttpclient", "SQLAlchemy", "psycopg")


def machine() -> dict[str, Any]:
    """The machine, and the versions of what was measured."""
    model = [line for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines() if line.startswith("model name")]
    return {
        "time": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        "cpu": model[0].partition(":")[2].strip() if model else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "load_average": [round(load, 2) for load in os.getloadavg()],
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "commit": _commit(),
        **{name: _version(name) for name in PACKAGES},
    }


def save(name: str, found: dict[str, Any], folder: Path = FOLDER) -> Path:
    """Write what a script has found, with the machine; the path of the file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}.json"
    path.write_text(json.dumps({"machine": machine(), **found}, indent=1, ensure_ascii=False) + "\n", "utf-8")
    print(f"Written: {path}", flush=True)
    return path


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    """The commit that is checked out, with a + where the tree differs from it."""
    git = shutil.which("git")
    if git is None:
        return None
    command = [git, "describe", "--always", "--dirty=+", "--exclude=*"]
    done = subprocess.run(command, cwd=FOLDER.parent.parent, capture_output=True, text=True, check=False)
    return done.stdout.strip() or None
