"""ChatAPI: a self-hosted, multi-tenant, token-metered ChatGPT service."""

__version__ = "0.1.0"
