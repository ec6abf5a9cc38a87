"""Measure: `python -m bench [--quick] [NAME …]` runs the scripts of bench/ one after the other.

They take what they take by default (all together half an hour), or with --quick the least that shows that they work (a
few minutes; not to compare anything by). Each script says more by `python -m bench.NAME --help`, and can be given other
sizes there. Exits with 1 when one of them failed or missed its goal, after all have run.
"""

from __future__ import annotations

import argparse
import ast
import subprocess
import sys
import time
from pathlib import Path

FOLDER = Path(__file__).resolve().parent


def main(arguments: list[str] | None = None) -> int:
    """Run the scripts that were named, or all of them; how many did not end well, as an exit status."""
    scripts = find_scripts()
    epilog = "scripts:\n" + "\n".join(f"  {name:<16} {what}" for name, what in scripts.items())
    parser = argparse.ArgumentParser(
        prog="python -m bench", description=__doc__, epilog=epilog, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="run only these")
    parser.add_argument("--quick", action="store_true", help="the least of each")
    parsed = parser.parse_args(arguments)
    names = parsed.names or list(scripts)
    if unknown := sorted(set(names) - scripts.keys()):
        parser.error(f"there is no {', '.join(unknown)}; there are {', '.join(scripts)}")
    ended = {name: run(name, scripts[name], quick=parsed.quick) for name in names}
    print(
        "\n".join(["", *(f"{name}: {'done' if code == 0 else f'exit status {code}'}" for name, code in ended.items())])
    )
    return int(any(ended.values()))


def find_scripts() -> dict[str, str]:
    """The scripts beside this one, each with the first sentence of what it says about itself."""
    found = {}
    for path in sorted(FOLDER.glob("*.py")):
        tree = ast.parse(path.read_text("utf-8"))
        is_script = any(isinstance(node, ast.If) and "__name__" in ast.unparse(node.test) for node in tree.body)
        if is_script and not path.name.startswith("_"):
            found[path.stem] = (ast.get_docstring(tree) or "").partition(":")[0]
    return found


def run(name: str, what: str, *, quick: bool) -> int:
    """Run one script as a program of its own, and say how long it took; its exit status."""
    print(f"\n== {name}: {what}", flush=True)
    began = time.perf_counter()
    command = [sys.executable, "-m", f"bench.{name}", *(["--quick"] if quick else [])]
    code = subprocess.run(command, cwd=FOLDER.parent, check=False).returncode
    print(f"({time.perf_counter() - began:.0f} s)", flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
