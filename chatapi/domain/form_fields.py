"""What forms with files have in common."""

from __future__ import annotations

from collections.abc import Sequence

from chatapi.domain.fields import missing
from chatapi.domain.model_request import Upload


def one_file_at_least(files: Sequence[Upload], name: str) -> None:
    """Check that a file of this name, or several (`name[]`), came.

    Raises:
        InvalidRequest: none did.
    """
    if not any(file.field in {name, f"{name}[]"} for file in files):
        raise missing(name)
