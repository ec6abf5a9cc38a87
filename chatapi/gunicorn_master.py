"""gunicorn's master, whose SIGHUP harms nobody.

The settings are read anew; where they cannot be, all goes on as it was. New workers start, and only when one of them
serves do the old ones stop accepting; their calls may take as long as any call may. gunicorn itself cuts what an old
worker runs after `graceful_timeout`, does not replace a new worker that dies while old ones end, and ends altogether
when the settings cannot be read.

Run it with: python -m chatapi.gunicorn_master -c python:chatapi.gunicorn_conf
"""

from __future__ import annotations

import importlib
from typing import Any

from gunicorn.app.wsgiapp import WSGIApplication
from gunicorn.arbiter import Arbiter

from chatapi import gunicorn_conf
from chatapi.gunicorn_worker import generations


class _NeedNotWait(Exception):
    """The old workers end in their own time."""


class Master(Arbiter):  # type: ignore[misc]
    """Starts the workers, one generation after another."""

    _reloading = False

    def reload(self) -> None:
        """SIGHUP: begin a new generation of workers, with the settings as they are now."""
        bound = gunicorn_conf.bind
        try:
            importlib.reload(gunicorn_conf)
        except Exception as error:
            self.log.error("Not reloaded, all goes on as it was: %s", error)
            return
        if gunicorn_conf.bind != bound:
            self.log.error("The reload does not move to another CHATAPI_BIND: that takes a restart")
            gunicorn_conf.bind = bound
        generations.begin()
        self._reloading = True
        try:
            super().reload()
        except _NeedNotWait:
            pass
        finally:
            self._reloading = False

    def reap_workers(self) -> None:
        """Bury the dead. gunicorn ends a reload by doing so until the old ones are gone, and is deaf meanwhile."""
        super().reap_workers()
        if self._reloading:
            raise _NeedNotWait

    def manage_workers(self) -> None:
        """Keep as many workers of the latest generation as there should be, and ask the others to end."""
        latest = [worker for worker in self.WORKERS.values() if worker.generation == generations.latest]
        for _ in range(self.num_workers - len(latest)):
            self.spawn_worker()
        superfluous = sorted(latest, key=lambda worker: worker.age)[: max(0, len(latest) - self.num_workers)]
        old = [worker for worker in self.WORKERS.values() if worker.generation != generations.latest]
        for worker in [*superfluous, *old]:
            self.kill_worker(worker.pid, gunicorn_conf.END)

    def stop(self, graceful: bool = True) -> None:
        """SIGTERM and the like: end all workers."""
        generations.end()
        super().stop(graceful)


class Application(WSGIApplication):  # type: ignore[misc]
    """gunicorn as its own command has it, with our master."""

    def run(self) -> None:
        """Serve until told to end."""
        Master(self).run()


def main() -> Any:
    """Become the master."""
    return Application("%(prog)s [OPTIONS]", prog="chatapi").run()


if __name__ == "__main__":
    main()
