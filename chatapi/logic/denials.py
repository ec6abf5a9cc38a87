"""Denials: denying writes nothing, so the id of a denial is the decision itself, signed by the installation.

Whoever shows it again gets it explained; nobody else can make one. The signature is an HMAC (RFC 2104), of 128 bits.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

import orjson

from chatapi.domain.limits import Denial, Limit, Metric, Scope, Standing
from chatapi.domain.principals import Claims
from chatapi.domain.windows import Window
from chatapi.errors import NotFound
from chatapi.logic.explain import Record, utc
from chatapi.logic.sealing import signer

PREFIX = "denial_"
VERSION = 1
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SIGNATURE_BYTES = 16
LONGEST = 4000  # characters of an id
ABSENT = "There is no such denial, or it is of another installation."


@dataclass(frozen=True, slots=True)
class ExplainedDenial:
    """A denial that was shown again, and whose it is."""

    id: str
    claims: Claims
    denial: Denial

    def as_record(self) -> Record:
        """What programs are told."""
        told: Record = {"object": "denial", "id": self.id, "denied_at": utc(self.denial.standing.measured_at)}
        return told | denial_record(self.denial) | {"sentences": [self.denial.explain()]}


def denial_id(secret: str, claims: Claims, denial: Denial) -> str:
    """The id of a denial."""
    standing, limit = denial.standing, denial.standing.limit
    told = [VERSION, limit.scope.value, limit.metric.value, limit.window.value, limit.value, limit.model, limit.granted]
    told += [standing.used, standing.held, denial.needed, denial.retry_after_s]
    instants = (_microseconds(standing.resets_at), _microseconds(standing.measured_at))
    content = b"".join(UUID(each).bytes for each in claims) + orjson.dumps([*told, *instants])
    return PREFIX + base64.urlsafe_b64encode(_signature(secret, content) + content).rstrip(b"=").decode()


def read_denial(secret: str, text: str, claims: Claims | None = None) -> ExplainedDenial:
    """The denial of an id.

    Args:
        secret: of the installation.
        text: the id.
        claims: who asks: only for denials of the same user; None: whoever runs the installation.

    Raises:
        NotFound: it was not made here, or is somebody else's.
    """
    content = _content(secret, text)
    if content is None:
        raise NotFound(ABSENT)
    whose = Claims(*(str(UUID(bytes=content[place : place + 16])) for place in (0, 16, 32)))
    if claims is not None and claims[:2] != whose[:2]:
        raise NotFound(ABSENT)
    version, scope, metric, window, value, model, granted, *numbers = orjson.loads(content[48:])
    if version != VERSION:
        raise NotFound(ABSENT)
    used, held, needed, retry_after_s, resets_at, measured_at = numbers
    limit = Limit(Scope(scope), Metric(metric), Window(window), value, model, granted)
    standing = Standing(limit, used, held, _instant(resets_at), _instant(measured_at))
    return ExplainedDenial(text, whose, Denial(standing, needed, retry_after_s))


def denial_record(denial: Denial) -> Record:
    """A denial for programs. Amounts of cost are nano-dollars."""
    standing, limit = denial.standing, denial.standing.limit
    return {
        "kind": denial.kind.value,
        "limit": {
            "scope": limit.scope.value,
            "metric": limit.metric.value,
            "window": limit.window.value,
            "model": limit.model or None,
            "value": limit.value,
            "granted": limit.granted,
        },
        "used": standing.used,
        "held": standing.held,
        "needed": denial.needed,
        "resets_at": None if limit.window is Window.AT_ONCE else f"{standing.resets_at:%Y-%m-%dT%H:%M:%SZ}",
    }


def _microseconds(instant: datetime) -> int:
    return (instant - EPOCH) // timedelta(microseconds=1)


def _instant(microseconds: int) -> datetime:
    return EPOCH + timedelta(microseconds=microseconds)


def _signature(secret: str, content: bytes) -> bytes:
    signed = signer(secret)
    signed.update(content)
    return signed.digest()[:SIGNATURE_BYTES]


def _content(secret: str, text: str) -> bytes | None:
    """What was signed; None where it was not."""
    if not text.startswith(PREFIX) or len(text) > LONGEST:
        return None
    encoded = text.removeprefix(PREFIX)
    try:
        raw = base64.b64decode(encoded + "=" * (-len(encoded) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    signed, content = raw[:SIGNATURE_BYTES], raw[SIGNATURE_BYTES:]
    return content if hmac.compare_digest(signed, _signature(secret, content)) else None
