"""Sealing: what the database keeps of replies, and of others' secrets, only this installation can read.

Replies: AES-256-GCM (NIST SP 800-38D) with a key of its own for each reply, derived by HKDF (RFC 5869) from the secret
that signs access tokens and a random salt; so no nonce is ever used twice. A reply is bound to its place: moved to
another one, it does not open. Digests are HMACs (RFC 2104), so nobody who reads the database can try what a request may
have been.

Others' secrets (a tenant's key for an upstream, what signs a webhook): Fernet, whose keys can be changed one after the
other (`CHATAPI_ENCRYPTION_KEYS`). Source: https://github.com/fernet/spec; cryptography's `MultiFernet`.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from functools import lru_cache

from cryptography.exceptions import InvalidTag
from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

SALT_BYTES = 32
REPLIES = b"chatapi idempotency: replies"
DIGESTS = b"chatapi idempotency: digests"
DENIALS = b"chatapi denials: signatures"
NONCE = bytes(12)  # of a key that seals once
REMEMBERED = 4096  # opened secrets


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


def signer(secret: str) -> hmac.HMAC:
    """The same for what is given out, to be known again."""
    return hmac.new(_signing_key(secret), digestmod=hashlib.sha256)


@lru_cache(maxsize=1)
def _digest_key(secret: str) -> bytes:
    return _key(secret, b"", DIGESTS)


@lru_cache(maxsize=1)
def _signing_key(secret: str) -> bytes:
    return _key(secret, b"", DENIALS)


def _key(secret: str, salt: bytes, what: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=salt, info=what).derive(secret.encode())


class SealedElsewhere(ValueError):
    """None of this installation's encryption keys opens it, or it was sealed for another place."""


class Vault:
    """Seals short secrets for the database, and opens them.

    Args:
        keys: Fernet keys; the first one seals, any of them opens.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        self._first = Fernet(keys[0])
        self._all = MultiFernet([Fernet(key) for key in keys])
        self.open = lru_cache(REMEMBERED)(self._open)

    def seal(self, place: str, secret: str) -> bytes:
        """Seal a secret, so that it opens in its place only, such as `upstream_keys/<tenant's id>/<upstream>`."""
        return self._first.encrypt(f"{place}\n{secret}".encode())

    def _open(self, place: str, sealed: bytes) -> str:
        """The secret.

        Raises:
            SealedElsewhere: it was sealed with another key, for another place, or is damaged.
        """
        try:
            its_place, _, secret = self._all.decrypt(sealed).decode().partition("\n")
        except InvalidToken:
            raise SealedElsewhere(place) from None
        if its_place != place:
            raise SealedElsewhere(place)
        return secret

    def is_current(self, sealed: bytes) -> bool:
        """Whether it was sealed with the first key."""
        try:
            self._first.decrypt(sealed)
        except InvalidToken:
            return False
        return True

    def reseal(self, place: str, sealed: bytes) -> bytes:
        """The same secret, sealed with the first key.

        Raises:
            SealedElsewhere: as `open`.
        """
        return self.seal(place, self._open(place, sealed))


@lru_cache(maxsize=16)
def vault_of(keys: tuple[str, ...]) -> Vault:
    """The vault of an installation (`Settings.sealing_keys`), made once."""
    return Vault(keys)
