"""Sealing: what the database keeps of requests and replies, only this installation can read.

AES-256-GCM (NIST SP 800-38D) with a key of its own for each reply, derived by HKDF (RFC 5869) from the secret that
signs access tokens and a random salt; so no nonce is ever used twice. A reply is bound to its place: moved to another
one, it does not open. Digests are HMACs (RFC 2104), so nobody who reads the database can try what a request may have
been.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from functools import lru_cache

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

SALT_BYTES = 32
REPLIES = b"chatapi idempotency: replies"
DIGESTS = b"chatapi idempotency: digests"
NONCE = bytes(12)  # of a key that seals once


def seal(secret: str, place: str, content: bytes) -> bytes:
    """Seal content that belongs to a place."""
    salt = secrets.token_bytes(SALT_BYTES)
    return salt + AESGCM(_key(secret, salt, REPLIES)).encrypt(NONCE, content, place.encode())


def unseal(secret: str, place: str, sealed: bytes) -> bytes | None:
    """The content; None where it was sealed with another secret, for another place, or is damaged."""
    salt, sealed = sealed[:SALT_BYTES], sealed[SALT_BYTES:]
    try:
        return AESGCM(_key(secret, salt, REPLIES)).decrypt(NONCE, sealed, place.encode())
    except InvalidTag:
        return None


def digester(secret: str) -> hmac.HMAC:
    """A digest to feed, which nobody can compute without the secret."""
    return hmac.new(_digest_key(secret), digestmod=hashlib.sha256)


@lru_cache(maxsize=1)
def _digest_key(secret: str) -> bytes:
    return _key(secret, b"", DIGESTS)


def _key(secret: str, salt: bytes, what: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=salt, info=what).derive(secret.encode())
