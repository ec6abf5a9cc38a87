"""A gateway in the tests' own process: what settings do is seen without the seconds that processes take to start."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
from werkzeug.serving import make_server

from chatapi.app import create_app, runtime_of, start_keeping
from tests.support.gateway import Gateway
from tests.support.processes import clean_environment


class GatewayHere(Gateway):
    """As `wsgi.py` is served by a threaded server, in an environment that has nothing but its settings."""

    _serving: ExitStack | None = None

    def start(self, *, wait: bool = True) -> None:
        """Serve; it is ready at once."""
        with ExitStack() as stack:
            stack.enter_context(_environment(clean_environment(self.environment)))
            app = create_app()
            runtime = runtime_of(app)
            for close in (runtime.database.close, runtime.upstreams.close, start_keeping(app).stop):
                stack.callback(close)
            server = make_server("127.0.0.1", self.port, app, threaded=True)
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
            for end in (thread.join, server.server_close, server.shutdown):
                stack.callback(end)
            thread.start()
            self._serving = stack.pop_all()

    def stop(self, *, patience_s: float = 10.0) -> int:
        """Serve no more."""
        self.http.close()
        if self._serving is not None:
            self._serving.close()
            self._serving = None
        return 0


@contextmanager
def _environment(wanted: dict[str, str]) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in os.environ.keys() - wanted.keys():
            patch.delenv(name)
        for name, value in wanted.items():
            patch.setenv(name, value)
        yield
