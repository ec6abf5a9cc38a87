"""Passwords: what may be one, wherever it is given."""

from __future__ import annotations

LONGEST_PASSWORD = 4096
CONTROL_CHARACTERS = frozenset(map(chr, [*range(32), 127])) - {"\t", "\r", "\n"}
SURROGATES = ("\ud800", "\udfff")  # the first and the last; in UTF-8, so in a login, there are none


def password_problem(password: str) -> str | None:
    """What is wrong with a new password, or None. The sentence goes on after "password" and does not repeat it."""
    if not password:
        return "is missing"
    if len(password) > LONGEST_PASSWORD:
        return f"is longer than {LONGEST_PASSWORD} characters"
    if not CONTROL_CHARACTERS.isdisjoint(password):
        return "has a control character"
    if any(SURROGATES[0] <= character <= SURROGATES[1] for character in password):
        return "has a character that is not Unicode text"
    return None
