"""Embeddings: a vector for each input, and usage that follows from the inputs."""

from __future__ import annotations

import base64
import struct
from dataclasses import dataclass
from typing import Any, Self

DIMENSIONS = 8
BYTES_PER_TOKEN = 4


@dataclass(frozen=True, slots=True)
class Inputs:
    """What is to be embedded.

    Args:
        sizes: of each input: bytes of text, or how many token ids it has.
        tokens: what is reported of all: an id is a token; of text, four bytes are one, and each input one more.
        as_text: whether the vectors are wanted in base64, as the SDKs ask for them.
    """

    sizes: tuple[int, ...]
    tokens: int
    as_text: bool

    @classmethod
    def of(cls, body: dict[str, Any]) -> Self:
        """Read a body: a text, a list of texts, token ids, or a list of lists of them."""
        given = body.get("input") or ""
        inputs = [given] if isinstance(given, str) or isinstance(given[0], int) else given
        sizes = tuple(len(one.encode() if isinstance(one, str) else one) for one in inputs)
        tokens = sum(
            size // BYTES_PER_TOKEN + 1 if isinstance(one, str) else size
            for one, size in zip(inputs, sizes, strict=True)
        )
        return cls(sizes, tokens, body.get("encoding_format") == "base64")

    def reply(self, model: str) -> dict[str, Any]:
        """The reply without its usage."""
        listed = [
            {"object": "embedding", "index": index, "embedding": self._vector(size)}
            for index, size in enumerate(self.sizes)
        ]
        return {"object": "list", "model": model, "data": listed}

    def _vector(self, size: int) -> list[float] | str:
        numbers = [size / (place + 1) for place in range(DIMENSIONS)]
        return base64.b64encode(struct.pack(f"<{DIMENSIONS}f", *numbers)).decode() if self.as_text else numbers
