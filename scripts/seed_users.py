"""Does exactly what `chatapi users import` does.

python scripts/seed_users.py FILE.csv [--dry-run]
"""

from __future__ import annotations

import sys

from chatapi.cli.main import cli

if __name__ == "__main__":
    cli(["users", "import", *sys.argv[1:]], prog_name="chatapi")
