"""Tenants' own keys for upstreams: calls that are sent with one are on the tenant's account there, not on ours."""

from __future__ import annotations

from dataclasses import dataclass, field

from chatapi.settings.upstreams import Kind


@dataclass(frozen=True, slots=True)
class OwnKey:
    """A tenant's own key for an upstream.

    Args:
        id: tells it from every other key, and gives nothing of it away.
        key: as the upstream wants it. Never in `repr`.
    """

    id: str
    key: str = field(repr=False)


def account_headers(kind: Kind, own: OwnKey | None) -> dict[str, str | None]:
    """The headers that a call with this key has instead of the installation's; None: that one not at all, because it
    names the installation's account."""
    if own is None:
        return {}
    if kind == "azure":
        return {"api-key": own.key}
    return {"Authorization": f"Bearer {own.key}", "OpenAI-Organization": None, "OpenAI-Project": None}
