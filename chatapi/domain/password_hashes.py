"""Password hashes as text: argon2id in the PHC string format, and what they cost to verify.

Source: the PHC string format specification; RFC 9106 for argon2id and its parameters.
"""

from __future__ import annotations

import base64
import binascii
import re
import secrets
from dataclasses import dataclass

MOST_MEMORY_KIB = 1024 * 1024  # 1 GiB; who may log in must not be able to take down the machine by it
MOST_PASSES = 20
MOST_LANES = 16
LONGEST_PART_BYTES = 64
SHORTEST_SALT_BYTES = 8
SHORTEST_TAG_BYTES = 12

PREFIX = "$argon2id$v=19$"  # then come the parameters, the salt and the tag, with a dollar sign between

_PARAMETERS = re.compile(r"m=(\d{1,9}),t=(\d{1,9}),p=(\d{1,9})", re.ASCII)
_FORMAT = re.compile(rf"{re.escape(PREFIX)}{_PARAMETERS.pattern}\$([A-Za-z0-9+/]+)\$([A-Za-z0-9+/]+)", re.ASCII)


@dataclass(frozen=True, slots=True)
class HashCost:
    """The parameters of an argon2id hash: memory in KiB, passes over it, lanes."""

    memory_kib: int
    passes: int
    lanes: int

    @property
    def work(self) -> int:
        """KiB that one verification writes: its time is proportional to this."""
        return self.memory_kib * self.passes

    @property
    def problem(self) -> str | None:
        """Why a hash with these parameters is not verified, or None."""
        if self.memory_kib > MOST_MEMORY_KIB or self.passes > MOST_PASSES or self.lanes > MOST_LANES:
            return f"is too dear to verify: at most m={MOST_MEMORY_KIB},t={MOST_PASSES},p={MOST_LANES}"
        if self.passes < 1 or self.lanes < 1 or self.memory_kib < 8 * self.lanes:
            return "has impossible parameters: t and p are at least 1, m at least 8 times p"
        return None

    def is_weaker_than(self, other: HashCost) -> bool:
        """Whether guessing passwords costs less memory or less work with this one."""
        return self.memory_kib < other.memory_kib or self.work < other.work


def hash_cost(password_hash: str) -> HashCost | None:
    """The cost of verifying this hash; None when it is no argon2id hash."""
    match = _FORMAT.fullmatch(password_hash)
    return HashCost(int(match[1]), int(match[2]), int(match[3])) if match else None


def read_parameters(parameters: str) -> HashCost | None:
    """The cost that parameters such as `m=19456,t=2,p=1` say; None when no hash with these is verified."""
    match = _PARAMETERS.fullmatch(parameters)
    cost = HashCost(int(match[1]), int(match[2]), int(match[3])) if match else None
    return None if cost is None or cost.problem else cost


def hash_problem(password_hash: str) -> str | None:
    """What is wrong with a hash that somebody gave, or None. The sentence does not repeat it."""
    match = _FORMAT.fullmatch(password_hash)
    if match is None:
        return "is no argon2id hash such as $argon2id$v=19$m=19456,t=2,p=1$<salt>$<hash>"
    if problem := HashCost(int(match[1]), int(match[2]), int(match[3])).problem:
        return problem
    if not _is_base64(match[4], SHORTEST_SALT_BYTES) or not _is_base64(match[5], SHORTEST_TAG_BYTES):
        return "is damaged: its salt or its hash is cut or no base64"
    return None


def random_hash(cost: HashCost) -> str:
    """A hash that is of no password, and costs as much to verify as one that is."""
    salt, tag = (base64.b64encode(secrets.token_bytes(size)).rstrip(b"=").decode() for size in (16, 32))
    return f"$argon2id$v=19$m={cost.memory_kib},t={cost.passes},p={cost.lanes}${salt}${tag}"


def _is_base64(text: str, least_bytes: int) -> bool:
    """Whether `text` is base64 without padding, as argon2 itself would write it, of a sane length."""
    try:
        decoded = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except binascii.Error:
        return False
    return least_bytes <= len(decoded) <= LONGEST_PART_BYTES and base64.b64encode(decoded).rstrip(b"=").decode() == text
