"""Forms with files: read to the disk as they come, bounded, and never held in memory whole."""

from __future__ import annotations

import os
import time
from typing import IO

from flask import request
from werkzeug.datastructures import FileStorage
from werkzeug.exceptions import ClientDisconnected, RequestEntityTooLarge

from chatapi.domain.model_request import Upload
from chatapi.endpoint.context import runtime
from chatapi.errors import InvalidRequest

MEDIA_TYPE = "multipart/form-data"
MOST_PARTS = 1000
MALFORMED = "The form breaks off before its end, or is not well formed"


def form() -> tuple[dict[str, object], tuple[Upload, ...]]:
    """The fields of the request's body and its files. A field that came several times is a list.

    Raises:
        InvalidRequest: another media type (415), encoded (415), too large (413), cut short or malformed (400).
    """
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise InvalidRequest("Content-Encoding is not supported; send the body as it is", status=415)
    if request.mimetype != MEDIA_TYPE or not request.mimetype_params.get("boundary"):
        raise InvalidRequest(f"The body must be a form with files; send: Content-Type: {MEDIA_TYPE}", status=415)
    request.environ["wsgi.input"] = _InTurns(request.environ["wsgi.input"])
    settings = runtime().settings
    limit = settings.upload_limit_bytes + settings.body_limit_bytes
    request.max_content_length = limit
    request.max_form_memory_size = settings.body_limit_bytes
    request.max_form_parts = MOST_PARTS
    try:
        values, files = request.form, request.files
    except RequestEntityTooLarge:
        raise _too_large(settings.upload_limit_bytes) from None
    except (ClientDisconnected, ValueError):
        raise InvalidRequest(MALFORMED) from None
    if None in values or None in files:  # a part whose name cannot be read
        raise InvalidRequest(MALFORMED)
    fields: dict[str, object] = {
        name: given[0] if len(given) == 1 else given for name, given in values.to_dict(flat=False).items()
    }
    uploads = tuple(_upload(name, file) for name, several in files.lists() for file in several)
    if sum(upload.size for upload in uploads) > settings.upload_limit_bytes:
        raise _too_large(settings.upload_limit_bytes)
    return fields, uploads


class _InTurns:
    """A body that is read in turn with whatever else runs here: one that has come already would let nobody have one."""

    def __init__(self, body: IO[bytes]) -> None:
        self._body = body

    def read(self, size: int = -1) -> bytes:
        """As it is."""
        time.sleep(0)
        return self._body.read(size)

    def readline(self, size: int = -1) -> bytes:
        """As it is."""
        return self._body.readline(size)


def _upload(name: str, file: FileStorage) -> Upload:
    size = file.stream.seek(0, os.SEEK_END)
    return Upload(name, file.filename or "file", file.content_type or "application/octet-stream", file.stream, size)


def _too_large(limit: int) -> InvalidRequest:
    return InvalidRequest(f"The form is too large; send files of at most {limit} bytes", status=413)
