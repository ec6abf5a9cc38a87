"""Serve `wsgi.py` by a threaded server without gevent, loaded by its path as Apache's mod_wsgi loads it.

python -m tests.support.threaded_server PORT
"""

from __future__ import annotations

import runpy
import sys
import threading

from werkzeug.serving import make_server

from tests.support.processes import PROJECT_ROOT


def main() -> None:
    """Serve until SIGTERM."""
    application = runpy.run_path(str(PROJECT_ROOT / "wsgi.py"))["application"]
    assert "gevent" not in sys.modules, "the service must not need gevent"
    assert threading.current_thread() is threading.main_thread()
    make_server("127.0.0.1", int(sys.argv[1]), application, threaded=True).serve_forever()


if __name__ == "__main__":
    main()
