"""Runs tests under gevent's monkey-patching, as the service does: `python -m tests.upstream.under_gevent <paths>`."""

from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import sys  # noqa: E402

import pytest  # noqa: E402

if __name__ == "__main__":
    sys.exit(pytest.main(["-q", "-x", "-n0", "-p", "no:cacheprovider", *sys.argv[1:]]))
