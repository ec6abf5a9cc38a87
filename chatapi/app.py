"""The composition root: settings in, a Flask app out. Read it from top to bottom; that is all there is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Flask
from werkzeug.middleware.proxy_fix import ProxyFix

from chatapi import signing
from chatapi.endpoint import (
    admin,
    chats,
    context,
    errors,
    health,
    log_format,
    me,
    model_endpoints,
    models,
    prompts,
    questions,
    request_log,
    tokens,
)
from chatapi.endpoint.answers import AnswerResponse
from chatapi.endpoint.openapi import views as openapi
from chatapi.logic import installation, schema
from chatapi.logic.keeping import Keeper
from chatapi.logic.runtime import Runtime
from chatapi.parts import build_runtime
from chatapi.settings import Settings, load_settings
from chatapi.storage.engine import Clock
from chatapi.storage.journal import Journal

BLUEPRINTS = (
    tokens.blueprint,
    questions.blueprint,
    prompts.blueprint,
    chats.blueprint,
    model_endpoints.blueprint,
    models.blueprint,
    me.blueprint,
    health.blueprint,
    openapi.blueprint,
)


class _App(Flask):
    """Flask without coroutines: no function is asked whether it is one, which took 5 % of a request's time."""

    response_class = AnswerResponse

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """As it is."""
        return func


def create_app(settings: Settings | None = None, *, clock: Clock | None = None) -> Flask:
    """The service as a WSGI application.

    Args:
        settings: read from the environment and `envs/` when absent.
        clock: stands in for the database's clock, in tests.

    Raises:
        ConfigurationError: a setting, the database's schema or the JWT secret is not as it must be.
    """
    settings = settings or load_settings()
    log_format.configure()
    runtime = build_runtime(settings, clock=clock)
    schema.require_served(runtime)
    installation_id = installation.check_installation(runtime)
    runtime.writer.keep_in(Journal(settings.var_dir / "journal", installation_id))
    runtime.upstreams.warm_up()
    runtime.prices.load()

    app = _App("chatapi", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = settings.body_limit_bytes
    signing.configure(app, settings.secret)
    if proxies := settings.trusted_proxies:
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=proxies, x_proto=proxies)  # type: ignore[method-assign]
    context.attach(app, runtime)
    request_log.install(app, trusted_proxies=settings.trusted_proxies)
    errors.install(app)
    for blueprint in (*BLUEPRINTS, *admin.BLUEPRINTS):
        app.register_blueprint(blueprint)
    return app


def start_keeping(app: Flask) -> Keeper:
    """Begin the background work of this process; call it where requests are served, after any fork."""
    keeper = Keeper(runtime_of(app))
    keeper.start()
    return keeper


def runtime_of(app: Flask) -> Runtime:
    """The runtime that the app works with."""
    runtime: Runtime = app.extensions[context.KEY]
    return runtime
