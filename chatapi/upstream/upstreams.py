"""All upstreams of an installation: which of them may answer for a model, and in which order they are tried."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

from chatapi.domain.routing import Breaker, Breakers, RetryBudget, in_order
from chatapi.errors import ConfigurationError, InvalidRequest, UpstreamResting
from chatapi.settings import Settings
from chatapi.settings.upstreams import Upstream as Described
from chatapi.settings.upstreams import UpstreamsFile
from chatapi.upstream.own_keys import OwnKey
from chatapi.upstream.targets import build_target, target_of
from chatapi.upstream.upstream import Upstream

NO_FILE = UpstreamsFile(upstreams=())
NO_OWN_KEYS: Mapping[str, OwnKey] = MappingProxyType({})


class Upstreams:
    """The upstreams, and the file that describes them.

    Args:
        upstreams: none for commands that call no model.
        described: aliases, models and when a call goes on to the next upstream.
    """

    def __init__(self, upstreams: Sequence[Upstream] = (), described: UpstreamsFile = NO_FILE) -> None:
        self.models = described.models
        self.aliases = described.aliases
        self.most_attempts = described.retries.attempts
        rules = described.retries
        self.budget = RetryBudget(rules.share, rules.reserve)
        self.own_budget = RetryBudget(rules.share, rules.reserve)
        """Of calls with tenants' own keys: a key that is refused everywhere takes nobody else's fallbacks."""
        self._resolved = described.resolved
        self._upstreams = upstreams

    def __iter__(self) -> Iterator[Upstream]:
        return iter(self._upstreams)

    def resolve(self, name: str) -> str:
        """The model that a name stands for: an alias's target, or itself."""
        return self._resolved(name)

    def serving(self, model: str, own: Mapping[str, OwnKey] = NO_OWN_KEYS) -> list[Upstream]:
        """Who may answer for a model (no alias), in the order in which they are to be tried for one call.

        Args:
            model: that is asked for.
            own: by upstream, the tenant's own keys. Where it has one for any that serves the model, only those may
                answer that it has one for: it means to pay there itself, so nobody else is to.

        Raises:
            ConfigurationError: no upstream is configured.
            InvalidRequest: none of them serves the model.
            UpstreamResting: all that do are left alone for now.
        """
        if not self._upstreams:
            raise ConfigurationError("No upstream is configured.")
        serving = [upstream for upstream in self._upstreams if upstream.serves(model)]
        if not serving:
            problem = f"The model `{model}` does not exist or you do not have access to it."
            raise InvalidRequest(problem, code="model_not_found", status=404)
        if own:
            serving = [upstream for upstream in serving if upstream.name in own] or serving
        ready = [upstream for upstream in serving if not upstream.rests_s(model, own.get(upstream.name))]
        if not ready:
            raise UpstreamResting(min(upstream.rests_s(model, own.get(upstream.name)) for upstream in serving))
        return in_order(ready) if len(ready) > 1 else ready

    def warm_up(self) -> None:
        """Make every client now; call it once in each worker, after the fork."""
        for upstream in self._upstreams:
            upstream.warm_up()

    def close(self) -> None:
        """Close every idle connection."""
        for upstream in self._upstreams:
            upstream.close()


def build_upstreams(settings: Settings, described: UpstreamsFile | None = None) -> Upstreams:
    """The upstreams of an upstreams file, or the one that the settings describe; nothing is connected yet.

    Raises:
        ConfigurationError: none is configured, or one is configured wrongly.
    """
    if described is None:
        target = build_target(settings)
        prices_of = None if target.kind == "compatible" else target.kind
        only = Described(name=target.kind, kind=target.kind, base_url=target.base_url, prices_of=prices_of)
        return Upstreams([Upstream(only, target)])
    rules = described.breaker
    upstreams = [
        Upstream(each, target_of(each, settings), Breakers(lambda: Breaker(rules.failures, rules.open_s)))
        for each in described.upstreams
    ]
    return Upstreams(upstreams, described)
