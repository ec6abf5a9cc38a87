"""The lines of a journal: what one version wrote, that version and every later one reads."""

from __future__ import annotations

from typing import Any, get_type_hints

import pytest

from chatapi.domain.calls import Admission, Charge, HeldCall, Settlement
from chatapi.domain.extras import Extras
from chatapi.domain.idempotency import IdempotencyKey
from chatapi.domain.limits import Need, Price
from chatapi.domain.principals import Claims
from chatapi.domain.usage import Usage
from chatapi.storage.journal_records import VERSION, decode, encode
from tests.storage.settlements import OURS, abandonment, settlement

AN_OLD_LINE = (
    '912607b2 {"version":1,"installation":"01a1fce8-ours","kind":"settlement","item":{"call":{"call_id":"call-0",'
    '"claims":{"tenant_id":"tenant","user_id":"user","jti":"jti"},"worker_id":"worker",'
    '"endpoint":"/v1/chat/completions","model":"tiny “quoted” もちろん\\n","upstream":"compatible","day":"2026-11-20",'
    '"prompt_bound":100,"completion_granted":50,"cost_bound":7,"admitted_at":"2026-11-20T23:59:59.999999+00:00",'
    '"deadline_at":"2026-11-21T00:14:59.999999+00:00"},"state":"settled","charge":{"answered":true,"usage":'
    '{"prompt_tokens":11,"cached_tokens":3,"completion_tokens":5,"reasoning_tokens":2,"source":"upstream"},"cost":6},'
    '"ended":"completed","attempt":"answered","upstream_id":"chatcmpl-1"}}'
)


@pytest.mark.parametrize(
    "item",
    [settlement("call"), settlement("call", upstream_id=None), abandonment("call")],
    ids=["settlement", "settlement without an id", "abandonment"],
)
def test_an_item_is_read_back_as_it_was_written(item: Settlement) -> None:
    (line,) = encode([item], OURS).splitlines()
    assert decode(line, OURS) == item


def test_what_version_1_wrote_is_read_for_ever() -> None:
    assert decode(AN_OLD_LINE.encode(), OURS) == settlement("call-0")


def test_whoever_changes_what_is_journalled_makes_a_new_version() -> None:
    """Where this fails: raise VERSION, keep reading the versions before it, and write down the new fields here."""
    parts: tuple[Any, ...] = (
        Settlement,
        Charge,
        HeldCall,
        Usage,
        Extras,
        Claims,
        Admission,
        IdempotencyKey,
        Need,
        Price,
    )
    shapes = {part.__name__: tuple(get_type_hints(part)) for part in parts}
    assert (VERSION, shapes) == (
        3,
        {
            "Settlement": ("call", "state", "charge", "ended", "attempt", "upstream_id", "number"),
            "Charge": ("answered", "usage", "cost"),
            "HeldCall": (
                *("call_id", "claims", "worker_id", "endpoint", "model", "upstream", "day", "prompt_bound"),
                *("completion_granted", "cost_bound", "admitted_at", "deadline_at", "sent_model"),
            ),
            "Usage": (
                *("prompt_tokens", "cached_tokens", "completion_tokens", "reasoning_tokens", "source"),
                *("extras", "service_tier"),
            ),
            "Extras": (
                *("cache_write_tokens", "prompt_audio_tokens", "prompt_image_tokens", "completion_audio_tokens"),
                *("completion_image_tokens", "images", "image", "seconds", "characters", "web_searches"),
                "file_searches",
            ),
            "Claims": ("tenant_id", "user_id", "jti"),
            "Admission": (
                *("call_id", "claims", "worker_id", "endpoint", "model", "upstream", "need", "deadline_s", "key"),
                *("sent_model", "planned"),
            ),
            "IdempotencyKey": ("digest", "request_digest"),
            "Need": ("prompt_bound", "completion_wanted", "completion_least", "choices", "loose", "price"),
            "Price": ("prompt", "completion", "call"),
        },
    )
