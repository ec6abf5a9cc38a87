"""The demo upstream: something that answers, for trying ChatAPI without any account."""

from __future__ import annotations

from chatapi.upstream.demo_process import start_demo


def start() -> str:
    """Start the demo upstream on loopback; it ends with this process and what this process becomes. Returns its base
    URL.

    Raises:
        ConfigurationError: it did not start.
    """
    _, base_url = start_demo()
    return base_url
