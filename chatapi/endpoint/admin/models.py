"""Which models a tenant and its users may use."""

from __future__ import annotations

from pydantic import Field

from chatapi.domain.actors import Actor
from chatapi.domain.principals import Role
from chatapi.endpoint.admin.users import USER
from chatapi.endpoint.context import runtime
from chatapi.endpoint.resources import Resources
from chatapi.endpoint.shapes import Body, Reply, Text
from chatapi.logic.permissions import MOST_PATTERNS, allow_models, allowed_models

resources = Resources("admin_models", __name__)

OF_TENANT = "/admin/tenants/{tenant_id}/models"
OF_USER = f"{USER}/models"
PATTERNS = "Patterns such as `gpt-4o*`, of models and not of aliases; null: all of them; an empty list: none."


class AllowedModels(Body):
    """Models that are allowed."""

    models: list[Text] | None = Field(max_length=MOST_PATTERNS, description=PATTERNS, examples=[["gpt-4o*"]])


class TenantModels(Reply):
    """Models that a tenant may use."""

    models: list[str] | None = Field(description=PATTERNS)


class UserModels(TenantModels):
    """Models that a user may use, as far as its tenant may."""

    tenant_models: list[str] | None = Field(description="Of its tenant: both must allow a model.")


@resources.operation("GET", OF_TENANT, needs=Role.ADMIN, summary="Read which models a tenant may use")
def read_tenant_models(_: Actor, tenant_id: str) -> TenantModels:
    """Of a tenant."""
    return _of_tenant(tenant_id)


@resources.operation(
    "PUT",
    OF_TENANT,
    needs=Role.OPERATOR,
    summary="Say which models a tenant may use",
    description="From its next call on.",
)
def set_tenant_models(actor: Actor, tenant_id: str, body: AllowedModels) -> TenantModels:
    """Of a tenant."""
    allow_models(runtime(), actor, tenant_id, None, body.models)
    return _of_tenant(tenant_id)


@resources.operation("GET", OF_USER, needs=Role.ADMIN, summary="Read which models a user may use")
def read_user_models(_: Actor, tenant_id: str, user_id: str) -> UserModels:
    """Of a user."""
    return _of_user(tenant_id, user_id)


@resources.operation(
    "PUT",
    OF_USER,
    needs=Role.ADMIN,
    summary="Say which models a user may use",
    description="From its next call on. What its tenant may not use, it may not either.",
)
def set_user_models(actor: Actor, tenant_id: str, user_id: str, body: AllowedModels) -> UserModels:
    """Of a user."""
    allow_models(runtime(), actor, tenant_id, user_id, body.models)
    return _of_user(tenant_id, user_id)


def _of_tenant(tenant_id: str) -> TenantModels:
    of_tenant, _ = allowed_models(runtime(), tenant_id, None)
    return TenantModels(models=_list(of_tenant))


def _of_user(tenant_id: str, user_id: str) -> UserModels:
    of_tenant, of_user = allowed_models(runtime(), tenant_id, user_id)
    return UserModels(models=_list(of_user), tenant_models=_list(of_tenant))


def _list(patterns: tuple[str, ...] | None) -> list[str] | None:
    return None if patterns is None else list(patterns)
