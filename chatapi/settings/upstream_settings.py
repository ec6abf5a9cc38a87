"""The settings of one upstream, where there is no upstreams file, and how long any upstream is waited for."""

from __future__ import annotations

from pathlib import Path

from pydantic_settings import BaseSettings

from chatapi.settings.fields import named
from chatapi.settings.sources import PROJECT_ROOT

STANDARD_FILE = PROJECT_ROOT / "envs" / "upstreams.toml"


class UpstreamSettings(BaseSettings):
    """Where calls go. The upstreams file, where there is one, stands instead of the addresses and keys here."""

    upstreams_file: Path | None = named(
        "CHATAPI_UPSTREAMS_FILE",
        default=None,
        description="File that describes upstreams, aliases and models; envs/upstreams.toml where that exists.",
    )
    openai_api_key: str | None = named(
        "OPENAI_API_KEY", default=None, description="Key of OpenAI or of a compatible server."
    )
    openai_base_url: str | None = named(
        "OPENAI_BASE_URL", default=None, description="Address of a compatible server, with its /v1."
    )
    openai_org_id: str | None = named("OPENAI_ORG_ID", default=None, description="OpenAI organisation to bill.")
    openai_project_id: str | None = named("OPENAI_PROJECT_ID", default=None, description="OpenAI project to bill.")
    azure_openai_endpoint: str | None = named(
        "AZURE_OPENAI_ENDPOINT", default=None, description="Address of the Azure OpenAI resource."
    )
    azure_openai_api_key: str | None = named(
        "AZURE_OPENAI_API_KEY", "AZURE_OPENAI_KEY", default=None, description="Key of the Azure OpenAI resource."
    )
    azure_openai_deployment: str | None = named(
        "AZURE_OPENAI_CHATGPT_DEPLOYMENT", default=None, description="Deployment that answers every call."
    )
    openai_api_version: str = named(
        "OPENAI_API_VERSION", default="2024-10-21", description="API version that Azure OpenAI is asked for."
    )
    https_proxy: str | None = named(
        "HTTPS_PROXY", "https_proxy", default=None, description="Proxy on the way to upstreams."
    )
    no_proxy: str | None = named(
        "NO_PROXY", "no_proxy", default=None, description="Hosts that are reached without the proxy, comma separated."
    )
    connect_timeout_s: float = named(
        "CHATAPI_CONNECT_TIMEOUT_S", default=5.0, gt=0, description="Longest wait for a connection to an upstream."
    )
    first_byte_timeout_s: float = named(
        "CHATAPI_FIRST_BYTE_TIMEOUT_S",
        default=120.0,
        gt=0,
        description="Longest wait for the first byte of an upstream's answer.",
    )
    idle_timeout_s: float = named(
        "CHATAPI_IDLE_TIMEOUT_S",
        default=60.0,
        gt=0,
        description="Longest silence in the middle of an upstream's answer.",
    )
    call_deadline_s: float = named(
        "CHATAPI_CALL_DEADLINE_S",
        default=900.0,
        gt=0,
        description="Longest life of one call; past it the call expires.",
    )

    @property
    def catalogue_file(self) -> Path | None:
        """The upstreams file that is to be read: the named one, or the one in its usual place."""
        if self.upstreams_file is not None:
            return self.upstreams_file
        return STANDARD_FILE if STANDARD_FILE.is_file() else None

    @property
    def has_upstream(self) -> bool:
        """Whether any upstream is configured."""
        return bool(self.catalogue_file or self.openai_api_key or self.openai_base_url or self.azure_openai_endpoint)
