"""What administrators do, over HTTP: one module per resource; and what those do whom they invite."""

from __future__ import annotations

from flask import Blueprint

from chatapi.endpoint import invitations, me_access_tokens
from chatapi.endpoint.admin import (
    access_tokens,
    alerts,
    grants,
    limits,
    models,
    prices,
    reports,
    tenants,
    trail,
    upstream_keys,
    upstreams,
    user_files,
    users,
    webhooks,
)

BLUEPRINTS: tuple[Blueprint, ...] = (
    invitations.blueprint,
    tenants.resources,
    users.resources,
    user_files.resources,
    models.resources,
    trail.resources,
    access_tokens.resources,
    me_access_tokens.resources,
    limits.resources,
    grants.resources,
    webhooks.resources,
    alerts.resources,
    reports.resources,
    upstream_keys.resources,
    prices.resources,
    upstreams.resources,
)
