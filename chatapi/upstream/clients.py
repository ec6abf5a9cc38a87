"""The OpenAI clients, one per kind of upstream, made from a `Target`. Importing this imports openai, which is slow."""

from __future__ import annotations

import httpx2
import openai

from chatapi.upstream.targets import Target
from chatapi.upstream.transport import PatientTransport

PLACEHOLDER_KEY = "none"  # the client insists on a key; a compatible server without one ignores it


def build_client(target: Target) -> openai.OpenAI:
    """The client for `target`.

    It never retries, never follows redirects (a key could leave with them), and reads no proxy from the environment,
    because the target has it already.
    """
    timeouts = target.timeouts
    timeout = httpx2.Timeout(
        connect=timeouts.connect_s,
        pool=timeouts.connect_s,
        write=timeouts.idle_s,
        read=min(timeouts.first_byte_s, timeouts.deadline_s),
    )
    http_client = httpx2.Client(
        transport=PatientTransport(target.proxy), timeout=timeout, trust_env=False, follow_redirects=False
    )
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
