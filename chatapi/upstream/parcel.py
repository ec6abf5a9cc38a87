"""What is sent to an upstream: a body that is made already, and how it must be understood."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import orjson

from chatapi.domain.model_request import ModelRequest
from chatapi.upstream.multipart import Multipart


class Pieces(Protocol):
    """A body that is sent piece by piece, because it is too large to be held in memory."""

    @property
    def content_type(self) -> str:
        """Its media type."""

    @property
    def length(self) -> int:
        """Its length in bytes."""

    def read(self) -> Iterator[bytes]:
        """Its bytes, from the beginning."""


@dataclass(frozen=True, slots=True)
class Parcel:
    """One request as it goes out.

    Args:
        form: how the upstream is asked and its reply read; a name in `forms.FORMS`.
        model: the model that the body names.
        content: the body: JSON, or a form with files.
        stream: whether the body asks for a stream.
        pass_usage: whether a stream's event that is there for its usage alone is relayed.
    """

    form: str
    model: str
    content: bytes | Pieces
    stream: bool = False
    pass_usage: bool = True


def pack(request: ModelRequest, body: dict[str, object], model: str) -> Parcel:
    """The parcel of a request: `body` is what it sends to `model`."""
    content = Multipart(body, request.files) if request.files else orjson.dumps(body)
    return Parcel(request.form, model, content, request.stream, request.include_usage)
