"""Asking an upstream for its models. It is no call of anybody's, costs nothing, and is not waited for long."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

import httpx2
import openai

from chatapi.upstream.answer import Decoded
from chatapi.upstream.asking import UNREAD_HEADER
from chatapi.upstream.exchange import Exchange
from chatapi.upstream.said import key_in
from chatapi.upstream.targets import Timeouts
from chatapi.upstream.translate import UPSTREAM_FAULTS, translate
from chatapi.upstream.whole import read_object

LONGEST_S = 5.0


@dataclass(frozen=True, slots=True)
class ListedModel:
    """A model as an upstream lists it: its name there, when it was made (Unix time), and whose it is."""

    name: str
    created: int
    owner: str


def list_models(client: openai.OpenAI, timeouts: Timeouts) -> list[ListedModel]:
    """The models that the upstream lists.

    Raises:
        UpstreamError: it does not say.
    """
    hasty = replace(timeouts, first_byte_s=min(timeouts.first_byte_s, LONGEST_S), deadline_s=LONGEST_S)
    started_at = time.monotonic()
    try:
        response = client.with_options(timeout=LONGEST_S).get(
            "/models", cast_to=httpx2.Response, options={"headers": {UNREAD_HEADER: "stream"}}
        )
    except UPSTREAM_FAULTS as error:
        raise translate(error) from error
    listed = read_object(Exchange(Decoded(response), hasty, started_at, key_in(response.request.headers)))
    data = listed.get("data")
    return [_model(each) for each in (data if isinstance(data, list) else ()) if _is_model(each)]


def _is_model(value: object) -> bool:
    return isinstance(value, dict) and isinstance(value.get("id"), str) and value["id"].isprintable()


def _model(value: dict[str, Any]) -> ListedModel:
    created, owner = value.get("created"), value.get("owned_by")
    return ListedModel(
        value["id"],
        created if isinstance(created, int) and not isinstance(created, bool) else 0,
        owner if isinstance(owner, str) else "system",
    )
