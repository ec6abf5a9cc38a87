"""The shapes of access tokens, for administrators and for oneself."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints

from chatapi.domain.access_tokens import AccessTokenLimit, AccessTokenState, NewAccessToken
from chatapi.domain.effective_limits import MOST_LIMITS
from chatapi.domain.limits import Metric
from chatapi.domain.money import MOST_NANODOLLARS
from chatapi.domain.names import LONGEST_NAME, name_problem
from chatapi.domain.windows import Window
from chatapi.endpoint.shapes import Body, Instant, Page, Reply, Text
from chatapi.logic.listed_access_tokens import AccessTokenFilter, ListedAccessToken
from chatapi.logic.permissions import MOST_PATTERNS
from chatapi.signing import sign

AMOUNT = "Requests, tokens or nano-dollars, as `metric` says"
OF_MODEL = "As upstreams name it; else of all models together."
OF_MODELS = "Patterns of models, such as `gpt-4o*`. Tenant, user and access token must each allow a model; null: all."
ONCE = (
    "The JWT is in this reply and in no other. Without `expires_in_days` and `expires_at` it lives as long as one of "
    "`POST /token`. `models` and `limits` narrow what its user may do, and never widen it."
)


def _named(name: str) -> str:
    if problem := name_problem(name):
        raise ValueError(problem)
    return name


Name = Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_NAME), AfterValidator(_named)]


class NewAccessTokenLimit(Body):
    """A limit of the access token's own."""

    metric: Metric
    window: Window = Field(examples=["day"])
    model: Text | None = Field(None, description=OF_MODEL)
    value: int = Field(ge=0, le=MOST_NANODOLLARS, description=f"{AMOUNT}; 0 is nothing.")


class AccessTokenBody(Body):
    """An access token to be made."""

    name: Name = Field(description="No other live one of the user has it.", examples=["nightly report"])
    expires_in_days: int | None = Field(None, ge=1, description="Or `expires_at`.")
    expires_at: Instant | None = Field(None, description="Or `expires_in_days`. Fractions of seconds are dropped.")
    models: list[Text] | None = Field(None, max_length=MOST_PATTERNS, description=OF_MODELS)
    limits: list[NewAccessTokenLimit] = Field([], max_length=MOST_LIMITS, description="Besides those of its user.")

    def read(self) -> NewAccessToken:
        """What it says."""
        limits = [AccessTokenLimit(each.metric, each.window, each.value, each.model or "") for each in self.limits]
        return NewAccessToken(self.name, self.expires_in_days, self.expires_at, self.models, limits)


class AccessTokenQuery(Page):
    """Which access tokens."""

    state: AccessTokenState | None = None
    name: Text | None = None

    def read(self) -> AccessTokenFilter:
        """What it says."""
        return AccessTokenFilter(self.state, self.name)


class AccessTokenLimitRecord(Reply):
    """A limit of an access token's own."""

    metric: Metric
    window: Window
    model: str | None = Field(description=OF_MODEL)
    value: int | None = Field(description=f"{AMOUNT}; null: unlimited, and somebody said so.")


class AccessTokenRecord(Reply):
    """An access token."""

    id: str = Field(description="Its `jti`.")
    username: str
    name: str | None = Field(description="Null: it is one that `POST /token` gave.")
    state: AccessTokenState
    issued_at: Instant
    expires_at: Instant
    revoked_at: Instant | None
    models: list[str] | None = Field(description=OF_MODELS)
    limits: list[AccessTokenLimitRecord] = Field(description="Its own, besides those of its user and tenant.")
    last_used: str | None = Field(description="The last day, at its tenant's, on which a call was made with it.")


class MadeAccessToken(AccessTokenRecord):
    """An access token that was just made."""

    access_token: str = Field(description="The JWT, shown this once.")


def access_token_record(told: ListedAccessToken) -> AccessTokenRecord:
    """An access token as it is shown."""
    kept = told.kept
    return AccessTokenRecord(
        id=kept.access_token.jti,
        username=kept.username,
        name=kept.name,
        state=told.state,
        issued_at=kept.access_token.issued_at,
        expires_at=kept.access_token.expires_at,
        revoked_at=kept.revoked_at,
        models=None if kept.models is None else list(kept.models),
        limits=[
            AccessTokenLimitRecord(metric=row.metric, window=row.window, model=row.model or None, value=row.value)
            for row in told.limits
        ],
        last_used=told.last_used,
    )


def made_access_token(told: ListedAccessToken) -> MadeAccessToken:
    """An access token with its JWT, which is signed here and kept nowhere."""
    jwt = sign(told.kept.access_token)
    return MadeAccessToken(**access_token_record(told).model_dump(), access_token=jwt)
