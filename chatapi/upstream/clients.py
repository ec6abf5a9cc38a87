"""The OpenAI clients, one per kind of upstream, and what carries their requests, made from a `Target`.

Importing this imports openai, which is slow.
"""

from __future__ import annotations

import functools
from http.cookiejar import CookieJar, DefaultCookiePolicy
from urllib.parse import urlsplit

import httpx2
import openai

from chatapi.upstream.http_client import HttpClient
from chatapi.upstream.refusal import refuser
from chatapi.upstream.targets import Target
from chatapi.upstream.transport import Transport, runs_gevent

MOST_URLS = 256
PLACEHOLDER_KEY = "none"  # the client insists on a key; a compatible server without one ignores it


def build_client(target: Target, transport: Transport, timeout: httpx2.Timeout) -> openai.OpenAI:
    """The client for `target`, which sends by `transport`.

    It never retries, never follows redirects (a key could leave with them), keeps no cookies (what one account is given
    would go out with another's calls), and reads no proxy from the environment, because the target has it already.
    """
    http_client = HttpClient(
        transport=transport,
        timeout=timeout,
        trust_env=False,
        follow_redirects=False,
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
        event_hooks={"response": [refuser(target.timeouts)]},
    )
    client = _client(target, timeout, http_client)
    # The client puts an address together for each call anew, which takes as long as all of a call's headers.
    client._prepare_url = functools.lru_cache(MOST_URLS)(client._prepare_url)  # type: ignore[method-assign]
    return client


def _client(target: Target, timeout: httpx2.Timeout, http_client: httpx2.Client) -> openai.OpenAI:
    if target.kind == "azure":
        # With a deployment every call is sent to it; without one, the client makes the model's name the deployment.
        return openai.AzureOpenAI(
            azure_endpoint=target.base_url,
            azure_deployment=target.deployment,
            api_version=target.api_version,
            api_key=target.api_key or PLACEHOLDER_KEY,
            timeout=timeout,
            max_retries=0,
            http_client=http_client,
        )
    return openai.OpenAI(
        base_url=target.base_url,
        api_key=target.api_key or PLACEHOLDER_KEY,
        organization=target.organisation,
        project=target.project,
        timeout=timeout,
        max_retries=0,
        http_client=http_client,
    )


def build_transport(target: Target, timeout: httpx2.Timeout) -> Transport:
    """What carries requests to `target`: our own pool where gevent runs this process, httpx2's elsewhere.

    A proxy that is itself spoken to in TLS is left to httpx2, which can nest TLS in TLS. `timeout` is for relayed
    calls.
    """
    nests_tls = target.proxy is not None and urlsplit(target.proxy).scheme == "https"
    if runs_gevent() and not nests_tls:
        from chatapi.upstream.dialling import Dialler  # imports gevent
        from chatapi.upstream.gevent_transport import GeventTransport
        from chatapi.upstream.pool import Pool

        dialler = Dialler(target.base_url, target.proxy, target.timeouts.connect_s)
        return GeventTransport(Pool(dialler, timeout), timeout)
    from chatapi.upstream.plain_transport import PlainTransport

    return PlainTransport(target.proxy, timeout)
