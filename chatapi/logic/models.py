"""What models this installation serves: the names that its configuration knows, and what its upstreams list."""

from __future__ import annotations

import time
from collections.abc import Iterator

import structlog

from chatapi.domain.model_names import allowed
from chatapi.domain.principals import Claims
from chatapi.errors import UnknownAccessToken, UpstreamError
from chatapi.logic.runtime import Runtime
from chatapi.storage.me import find_person
from chatapi.upstream.listing import ListedModel as ServedModel

__all__ = ["ModelList", "ServedModel", "listed"]

LISTED_FOR_S = 60.0
SHORTER_FOR_S = 5.0  # where an upstream did not say
OWN = "system"

log = structlog.get_logger()


class ModelList:
    """What was listed last by this process, and until when that is good enough."""

    def __init__(self) -> None:
        self._models: dict[str, ServedModel] = {}
        self._until = 0.0

    def of(self, runtime: Runtime) -> dict[str, ServedModel]:
        """The models by name. An upstream that cannot list its own now adds none, which is said in the log."""
        if time.monotonic() < self._until:
            return self._models
        whole, found = True, {model.name: model for model in _configured(runtime)}
        for upstream in runtime.upstreams:
            try:
                listed = upstream.models()
            except UpstreamError as error:
                log.warning("models_not_listed", upstream=upstream.name, error=type(error).__qualname__)
                whole = False
                continue
            for model in listed:
                if upstream.serves(model.name) and upstream.name_of(model.name) == model.name:
                    found.setdefault(model.name, model)
        self._models = found
        self._until = time.monotonic() + (LISTED_FOR_S if whole else SHORTER_FOR_S)
        return found


def listed(runtime: Runtime, claims: Claims, known: ModelList) -> dict[str, ServedModel]:
    """The models that the principal may ask, by name. This is no metered call.

    Raises:
        UnknownAccessToken: the access token, its user or its tenant is not in force.
        DatabaseUnavailable: the database cannot answer.
    """
    with runtime.database.read() as connection:
        person = find_person(connection, runtime.database, claims)
    if person is None:
        raise UnknownAccessToken
    patterns = (person.tenant_models, person.user_models, person.access_token_models)
    lists = [some for some in patterns if some is not None]
    found = known.of(runtime).items()
    return {name: model for name, model in found if allowed(runtime.upstreams.resolve(name), lists)}


def _configured(runtime: Runtime) -> Iterator[ServedModel]:
    """The default model, aliases, models that are described, and those that upstreams name without a pattern."""
    names = [runtime.settings.model, *runtime.upstreams.aliases, *runtime.upstreams.models]
    for upstream in runtime.upstreams:
        names += [name for name in upstream.patterns if not set(name) & set("*?[")]
    for name in names:
        yield ServedModel(name, 0, OWN)
