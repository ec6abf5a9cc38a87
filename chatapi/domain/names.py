"""Names of users and tenants: what may be one."""

from __future__ import annotations

from uuid import UUID

DEFAULT_TENANT = "default"
LONGEST_NAME = 200
COMMAND = "command:"
"""With it begins what stands in the trail for whoever ran a command; so no username does."""


def name_problem(name: str) -> str | None:
    """What is wrong with a name, or None. The sentence goes on after "username" or "tenant" and does not repeat it.

    Names are compared as they are, letter by letter, so what cannot be seen is not allowed in them.
    """
    if not name.strip():
        return "is missing"
    if len(name) > LONGEST_NAME:
        return f"is longer than {LONGEST_NAME} characters"
    if not name.isprintable():
        return "has a control character or one that cannot be seen"
    if name != name.strip():
        return "begins or ends with a space"
    return None


def username_problem(username: str) -> str | None:
    """What is wrong with a username, or None; said as `name_problem` does."""
    if username.casefold().startswith(COMMAND):
        return f"begins with {COMMAND!r}, as the trail names those who run commands"
    return name_problem(username)


def is_id(text: str) -> bool:
    """Whether it is written as ids are here."""
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False


def can_be_kept(text: str) -> bool:
    """Whether a database can look for this text: PostgreSQL knows no NUL, and no encoding half a surrogate pair."""
    return "\0" not in text and not any("\ud800" <= character <= "\udfff" for character in text)
