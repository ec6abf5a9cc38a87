"""Where an upstream is and how it is reached: the part of the settings that a client is made from, checked."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit
from urllib.request import getproxies_environment

from chatapi.errors import ConfigurationError
from chatapi.settings import Settings
from chatapi.settings.upstreams import Kind
from chatapi.settings.upstreams import Upstream as Described

OPENAI_BASE_URL = "https://api.openai.com/v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """How long to wait, in seconds: for a connection, the first byte, the next bytes, and for the whole call."""

    connect_s: float
    first_byte_s: float
    idle_s: float
    deadline_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One upstream as configured. `proxy` is the URL of the proxy on the way, credentials included."""

    kind: Kind
    base_url: str
    api_key: str | None
    organisation: str | None = None
    project: str | None = None
    deployment: str | None = None
    api_version: str | None = None
    proxy: str | None = None
    timeouts: Timeouts

    def __repr__(self) -> str:
        return f"Target({self.kind})"  # never the key, in no traceback and no log


def build_target(settings: Settings) -> Target:
    """Choose the upstream that the settings describe: Azure OpenAI, else a compatible server, else OpenAI.

    Raises:
        ConfigurationError: none is configured, or one is configured wrongly.
    """
    timeouts = _timeouts(settings)
    if settings.azure_openai_endpoint:
        address = _address("AZURE_OPENAI_ENDPOINT", settings.azure_openai_endpoint)
        return Target(
            kind="azure",
            base_url=address,
            api_key=_needed_key("AZURE_OPENAI_API_KEY", settings.azure_openai_api_key),
            deployment=settings.azure_openai_deployment,
            api_version=settings.openai_api_version,
            proxy=_proxy(address, settings),
            timeouts=timeouts,
        )
    address = _address("OPENAI_BASE_URL", settings.openai_base_url or OPENAI_BASE_URL)
    is_openai = urlsplit(address).hostname == urlsplit(OPENAI_BASE_URL).hostname
    if is_openai and not settings.openai_api_key and not settings.openai_base_url:
        raise ConfigurationError(
            "No upstream is configured. Set OPENAI_API_KEY, or OPENAI_BASE_URL for a compatible server, "
            "or AZURE_OPENAI_ENDPOINT and AZURE_OPENAI_API_KEY; or try `chatapi serve --demo`."
        )
    key = settings.openai_api_key
    return Target(
        kind="openai" if is_openai else "compatible",
        base_url=address,
        api_key=_needed_key("OPENAI_API_KEY", key) if is_openai or key else None,
        organisation=settings.openai_org_id,
        project=settings.openai_project_id,
        proxy=_proxy(address, settings),
        timeouts=timeouts,
    )


def target_of(described: Described, settings: Settings) -> Target:
    """The target of an upstream that the upstreams file describes.

    Raises:
        ConfigurationError: the proxy on the way is configured wrongly.
    """
    return Target(
        kind=described.kind,
        base_url=described.base_url,
        api_key=described.api_key,
        organisation=described.organisation,
        project=described.project,
        api_version=described.api_version,
        proxy=_proxy(described.base_url, settings),
        timeouts=_timeouts(settings),
    )


def _timeouts(settings: Settings) -> Timeouts:
    return Timeouts(
        connect_s=settings.connect_timeout_s,
        first_byte_s=settings.first_byte_timeout_s,
        idle_s=settings.idle_timeout_s,
        deadline_s=settings.call_deadline_s,
    )


def _needed_key(name: str, key: str | None) -> str:
    key = (key or "").strip()
    if not key:
        raise ConfigurationError(f"{name} is missing: the upstream that is configured needs it.")
    if not key.isascii() or not key.isprintable() or " " in key:
        raise ConfigurationError(f"{name} has characters that no key has; was it copied whole?")
    return key


def _address(name: str, value: str) -> str:
    """The address, if it is one; the message does not repeat it, because it may hold credentials."""
    value = value.strip()
    parts = _split(value)
    if parts is None or parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ConfigurationError(f"{name} is no http:// or https:// address.")
    return value.rstrip("/")


def _proxy(address: str, settings: Settings) -> str | None:
    """The proxy on the way to `address`, or None, chosen as curl and Python do.

    HTTPS_PROXY is for https:// addresses, HTTP_PROXY for http:// ones, else ALL_PROXY; there is none to what NO_PROXY
    names, nor ever to a loopback address.
    """
    parts = urlsplit(address)
    environment = getproxies_environment()
    host = parts.hostname or ""
    if _is_loopback(host) or _is_named(host, parts.port, settings.no_proxy or environment.get("no", "")):
        return None
    configured = settings.https_proxy if parts.scheme == "https" else environment.get("http")
    proxy = configured or environment.get("all")
    if not proxy:
        return None
    proxy = proxy if "://" in proxy else f"http://{proxy}"
    proxy_parts = _split(proxy)
    if proxy_parts is None or proxy_parts.scheme not in {"http", "https"} or not proxy_parts.hostname:
        raise ConfigurationError("HTTPS_PROXY (or ALL_PROXY, HTTP_PROXY) is no http:// or https:// address.")
    return proxy


def _is_named(host: str, port: int | None, no_proxy: str) -> bool:
    """Whether NO_PROXY names the host: itself (with its port or without), a domain that it is in, or `*` for all."""
    names = [name.strip().lower().removeprefix("*.").lstrip(".") for name in no_proxy.split(",")]
    return any(name and (name in {"*", host, f"{host}:{port}"} or host.endswith(f".{name}")) for name in names)


def _split(value: str) -> SplitResult | None:
    try:
        parts = urlsplit(value)
        _ = parts.port  # a port that is no number is found out only when it is asked for
    except ValueError:
        return None
    return parts


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
