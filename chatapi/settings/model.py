"""Settings: every knob of an installation, read once from the environment and the files of `envs/`, typed and frozen.

The environment wins over `envs/.env` (or the file that CHATAPI_ENV_FILE names), which wins over `envs/configs`.
Each field's description is its documentation: `docs/configuration.md` must name every one, and a test says so.
"""

from __future__ import annotations

import zoneinfo
from functools import cached_property
from pathlib import Path
from typing import Self
from zoneinfo import ZoneInfo

from pydantic import field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from chatapi.settings.fields import named
from chatapi.settings.secret import SHORTEST_SECRET_BYTES, encryption_key_problem, kept_encryption_key, kept_secret
from chatapi.settings.sources import PROJECT_ROOT, LegacyConfig
from chatapi.settings.upstream_settings import UpstreamSettings
from chatapi.settings.webhook_settings import WebhookSettings

LAST_PORT = 65_535
LONGEST_JWT_DAYS = 36_500
zoneinfo.reset_tzpath(to=())  # the pinned tzdata, not each machine's own: all must agree on when a day begins


class Settings(UpstreamSettings, WebhookSettings):
    """All settings of one installation. Times are in seconds (`_s`), sizes in bytes, quotas in units per day."""

    model_config = SettingsConfigDict(
        frozen=True, extra="ignore", populate_by_name=True, env_ignore_empty=True, allow_inf_nan=False
    )

    # Models
    model: str = named(
        "CHATAPI_MODEL",
        default="gpt-4o-mini",
        min_length=1,
        description="Model that answers where the client names none.",
    )
    system_message: str | None = named(
        "CHATAPI_SYSTEM_MESSAGE",
        default="You are a helpful assistant.",
        description="System message that /chat puts first; 'none' for no system message.",
    )
    default_completion_tokens: int = named(
        "CHATAPI_DEFAULT_COMPLETION_TOKENS",
        default=1024,
        gt=0,
        description="Completion cap of a call that asks for none, where a token limit applies.",
    )

    # Database and house
    database_url: str = named(
        "CHATAPI_DATABASE_URL", default="", description="SQLAlchemy URL; a SQLite file in the var folder by default."
    )
    database_pool: int = named(
        "CHATAPI_DATABASE_POOL", default=10, gt=0, description="Connections to PostgreSQL per worker process."
    )
    var_dir: Path = named(
        "CHATAPI_VAR_DIR", default=PROJECT_ROOT / "var", description="Folder of what this installation writes."
    )
    timezone: str = named(
        "CHATAPI_TIMEZONE", default="UTC", description="Time zone of the installation and of new tenants."
    )

    encryption_keys: str = named(
        "CHATAPI_ENCRYPTION_KEYS",
        default="",
        description="Fernet keys, comma separated, for secrets in the database; the first one encrypts.",
    )

    # Access tokens and logins
    jwt_secret_key: str = named(
        "CHATAPI_JWT_SECRET_KEY",
        default="",
        description="Secret that signs access tokens, at least 32 bytes; made and kept in the var folder when absent.",
    )
    jwt_days: int = named(
        "CHATAPI_JWT_DAYS", default=30, gt=0, le=LONGEST_JWT_DAYS, description="Days that an access token is valid."
    )
    access_token_days: int = named(
        "CHATAPI_ACCESS_TOKEN_DAYS",
        default=365,
        gt=0,
        le=LONGEST_JWT_DAYS,
        description="Longest life of a named access token, in days.",
    )
    access_tokens_per_user: int = named(
        "CHATAPI_ACCESS_TOKENS_PER_USER", default=100, ge=0, description="Named access tokens that a user may have."
    )
    invitation_days: int = named(
        "CHATAPI_INVITATION_DAYS", default=7, gt=0, le=365, description="Days that an invitation link is valid."
    )
    login_pair_failures: int = named(
        "CHATAPI_LOGIN_PAIR_FAILURES",
        default=5,
        gt=0,
        description="Failed logins of one user from one address before both must wait.",
    )
    login_address_failures: int = named(
        "CHATAPI_LOGIN_ADDRESS_FAILURES",
        default=50,
        gt=0,
        description="Failed logins from one address before it must wait.",
    )
    login_window_s: int = named(
        "CHATAPI_LOGIN_WINDOW_S", default=300, gt=0, description="Seconds over which failed logins are added up."
    )
    hashes_at_once: int = named(
        "CHATAPI_HASHES_AT_ONCE", default=1, gt=0, description="Password hashes computed at once by one process."
    )
    trusted_proxies: int = named(
        "CHATAPI_TRUSTED_PROXIES",
        default=0,
        ge=0,
        description="Proxies in front that are believed about client addresses.",
    )

    # Quotas and admission
    daily_requests: int | None = named(
        "CHATAPI_DAILY_REQUESTS",
        default=10,
        ge=0,
        description="Answered requests per user and day, unless overridden; 'unlimited' for no limit.",
    )
    daily_tokens: int | None = named(
        "CHATAPI_DAILY_TOKENS",
        default=None,
        ge=0,
        description="Tokens per user and day, unless overridden; unlimited by default.",
    )
    wait_s: float = named(
        "CHATAPI_WAIT_S",
        default=5.0,
        ge=0,
        description="Longest wait of a call for holds of calls in flight to come back.",
    )
    wait_calls: int = named(
        "CHATAPI_WAIT_CALLS", default=100, ge=0, description="Calls that may wait for one limit in one process."
    )
    lease_s: float = named(
        "CHATAPI_LEASE_S",
        default=15.0,
        gt=0,
        description="Silence after which a worker is taken for dead and its calls expire.",
    )
    renew_s: float = named(
        "CHATAPI_RENEW_S", default=5.0, gt=0, description="Seconds between two renewals of a worker's lease."
    )

    # Serving
    bind: str = named(
        "CHATAPI_BIND", default="127.0.0.1:5000", description="Address and port, or unix:PATH, to serve on."
    )
    workers: int | None = named(
        "CHATAPI_WORKERS",
        default=None,
        gt=0,
        description="Worker processes; one on SQLite, one per core (at least two) on PostgreSQL.",
    )
    graceful_timeout_s: int = named(
        "CHATAPI_GRACEFUL_TIMEOUT_S", default=30, gt=3, description="Seconds that calls have to finish after SIGTERM."
    )
    send_timeout_s: float = named(
        "CHATAPI_SEND_TIMEOUT_S", default=30.0, ge=1, description="Longest time for which a client may take nothing."
    )
    report_s: float = named(
        "CHATAPI_REPORT_S", default=120.0, gt=0, description="Longest time for which a report may be read."
    )
    body_limit_bytes: int = named(
        "CHATAPI_BODY_LIMIT_BYTES", default=2 * 1024 * 1024, gt=0, description="Largest request body that is read."
    )
    upload_limit_bytes: int = named(
        "CHATAPI_UPLOAD_LIMIT_BYTES",
        default=25 * 1024 * 1024,
        gt=0,
        description="Largest sum of the files of one request, for images and sound.",
    )
    idempotency_bytes: int = named(
        "CHATAPI_IDEMPOTENCY_BYTES",
        default=1024 * 1024,
        ge=0,
        description="Largest reply that is kept for repeats with the same Idempotency-Key.",
    )
    idempotency_wait_s: float = named(
        "CHATAPI_IDEMPOTENCY_WAIT_S",
        default=30.0,
        ge=0,
        description="Longest wait of a repeat for the first request with its Idempotency-Key.",
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, then the environment, then the `envs/` file, then the JSON file of old clients."""
        return init_settings, env_settings, dotenv_settings, LegacyConfig(settings_cls)

    @field_validator("daily_requests", "daily_tokens", mode="before")
    @classmethod
    def _unlimited(cls, value: object) -> object:
        return None if isinstance(value, str) and value.strip().lower() == "unlimited" else value

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ValueError, OSError, KeyError) as error:
            raise ValueError(f"{value!r} is no IANA time zone, such as Europe/Berlin") from error
        return value

    @field_validator("jwt_secret_key")
    @classmethod
    def _long_secret(cls, value: str) -> str:
        if value and len(value.encode()) < SHORTEST_SECRET_BYTES:
            raise ValueError(f"is shorter than {SHORTEST_SECRET_BYTES} bytes; make one with: openssl rand -hex 32")
        return value

    @field_validator("encryption_keys")
    @classmethod
    def _fernet_keys(cls, value: str) -> str:
        for key in _listed(value):
            if problem := encryption_key_problem(key):
                raise ValueError(problem)
        return value

    @field_validator("bind")
    @classmethod
    def _an_address(cls, value: str) -> str:
        host, _, port = value.rpartition(":")
        is_path = value.startswith("unix:") and len(value) > len("unix:")
        if not is_path and not (host and port.isascii() and port.isdigit() and int(port) <= LAST_PORT):
            raise ValueError(f"{value!r} is neither HOST:PORT, such as 127.0.0.1:5000, nor unix:PATH")
        return value

    @model_validator(mode="after")
    def _renewed_in_time(self) -> Self:
        if self.renew_s * 2 > self.lease_s:
            raise ValueError(
                "CHATAPI_RENEW_S must be at most half of CHATAPI_LEASE_S, or living workers lose their calls"
            )
        return self

    @cached_property
    def database(self) -> str:
        """The URL to connect to: psycopg 3 for every spelling of PostgreSQL, a file in the var folder by default."""
        url = self.database_url or f"sqlite:///{self.var_dir / 'chatapi.sqlite3'}"
        for prefix in ("postgresql://", "postgres://"):
            if url.startswith(prefix):
                return "postgresql+psycopg://" + url.removeprefix(prefix)
        return url

    @property
    def is_sqlite(self) -> bool:
        """Whether the database is a SQLite file."""
        return self.database.startswith("sqlite")

    @cached_property
    def zone(self) -> ZoneInfo:
        """The installation's time zone."""
        return ZoneInfo(self.timezone)

    @property
    def bound_to_loopback(self) -> bool:
        """Whether only this machine can reach the service."""
        host = self.bind.rpartition(":")[0].strip("[]")
        return self.bind.startswith("unix:") or host in {"localhost", "::1"} or host.startswith("127.")

    @cached_property
    def secret(self) -> str:
        """The secret that signs access tokens; made on first use and kept with mode 0600 in the var folder."""
        return self.jwt_secret_key or kept_secret(self.var_dir / "jwt_secret_key")

    @cached_property
    def sealing_keys(self) -> tuple[str, ...]:
        """The Fernet keys for secrets in the database, the one that encrypts first; made on first use where none is
        set, and kept as the secret above is."""
        return _listed(self.encryption_keys) or (kept_encryption_key(self.var_dir / "encryption_key"),)


def _listed(value: str) -> tuple[str, ...]:
    return tuple(key for part in value.split(",") if (key := part.strip()))
