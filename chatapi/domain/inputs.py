"""Inputs that may be a text, several, a list of ids of tokens, or several of those: of completions and embeddings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from chatapi.domain.fields import empty, missing, wrong_type

EXPECTED = "a string, an array of strings, an array of integers or an array of arrays of integers"


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a model is given.

    Args:
        texts: those given as text.
        ids: how many tokens are given as ids.
        number: how many inputs there are.
    """

    texts: tuple[str, ...]
    ids: int
    number: int

    def bound(self) -> int:
        """The tokens of all texts and ids are no more than this."""
        return self.ids + sum(len(text.encode()) for text in self.texts)


def read_inputs(body: Mapping[str, object], name: str) -> Inputs:
    """Read the field `name`.

    Raises:
        InvalidRequest: it is missing, empty, or none of the four.
    """
    value = body.get(name)
    if value is None:
        raise missing(name)
    if isinstance(value, str):
        return Inputs((value,), 0, 1)
    if not isinstance(value, list):
        raise wrong_type(name, EXPECTED, value)
    if not value:
        raise empty(name)
    if _are_ids(value):
        return Inputs((), len(value), 1)
    texts: list[str] = []
    ids = 0
    for position, item in enumerate(value):
        if isinstance(item, str):
            texts.append(item)
        elif isinstance(item, list) and item and _are_ids(item):
            ids += len(item)
        else:
            raise wrong_type(f"{name}[{position}]", "a string or an array of integers", item)
    return Inputs(tuple(texts), ids, len(value))


def _are_ids(items: list[object]) -> bool:
    return all(isinstance(item, int) and not isinstance(item, bool) and item >= 0 for item in items)
