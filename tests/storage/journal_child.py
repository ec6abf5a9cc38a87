"""A process with a journal, told what to do line by line: `append FIRST COUNT`, `adopt`, `forget`, `limit BYTES`.

It answers each line with a line of JSON. Its arguments are the folder and the installation's id.
"""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path

import structlog

from chatapi.storage.journal import Journal
from tests.storage.settlements import call_id_of, settlement


def main(folder: str, installation_id: str) -> None:
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(file=sys.stderr))
    journal = Journal(Path(folder), installation_id)
    for line in sys.stdin:
        order, *numbers = line.split()
        said: object = None
        if order == "append":
            first, count = (int(number) for number in numbers)
            said = journal.append([settlement(f"call-{number}") for number in range(first, first + count)])
        elif order == "adopt":
            said = [call_id_of(item) for item in journal.adopt()]
        elif order == "forget":
            journal.forget_all_but([])
        elif order == "limit":
            resource.setrlimit(resource.RLIMIT_FSIZE, (int(numbers[0]), resource.RLIM_INFINITY))
        print(json.dumps({"said": said, "problem": journal.problem}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
